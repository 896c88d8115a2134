//! A disk that can lose its power: a file system in a file, mounted through a loop device, and cut off by the kernel's shutdown
//! ioctl. What had not reached the file is gone with the next mount, as after a pulled plug.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Mounts, cuts and unmounts as told on its standard input, and tidies up when that ends, however the test ended. Python,
/// because an ioctl takes unsafe code in Rust.
const SWITCH: &str = r#"
import ctypes, fcntl, os, struct, subprocess, sys, time
image, at, kind, gone = sys.argv[1:]
gone = os.open(gone, os.O_WRONLY | os.O_CREAT)
libc = ctypes.CDLL(None, use_errno=True)
device = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True).stdout.strip()

def cut(flag, micros):
    folder = os.open(at, os.O_RDONLY)
    until = time.perf_counter() + micros / 1e6
    while time.perf_counter() < until:
        pass
    os.pwrite(gone, b"1", 0)
    fcntl.ioctl(folder, 0x8004587d, struct.pack("I", flag))
    os.close(folder)

def call(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def mount():
    call(libc.mount(device.encode(), at.encode(), kind.encode(), 0, None))
    os.pwrite(gone, b"0", 0)

umount = lambda: call(libc.umount2(at.encode(), 0))
try:
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        try:
            {"mount": mount, "umount": umount, "cut": cut}[words[0]](*map(int, words[1:]))
            print("ok", flush=True)
        except OSError as error:
            print(error, flush=True)
finally:
    libc.umount2(at.encode(), 2)
    subprocess.run(["losetup", "--detach", device])
"#;

/// See the module. Unmounted and its loop device freed when dropped.
pub(super) struct Disk {
    switch: Child,
    say: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
    at: PathBuf,
    gone: PathBuf,
    _image: tempfile::TempDir,
}

/// Tells whether the power is still on. The file system answers for a moment after its shutdown, and may then call durable
/// what is not: a process that has no power any more hears no answer, so none that comes later counts.
pub(super) struct Lamp(File);

impl Lamp {
    pub(super) fn is_on(&self) -> bool {
        let mut lit = [0];
        self.0.read_exact_at(&mut lit, 0).expect("one byte");
        lit == *b"0"
    }
}

impl Disk {
    /// A mounted disk of that file system, or why there can be none here.
    pub(super) fn mounted(kind: &str, megabytes: u64, at: &Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".to_owned());
        }
        // In memory where that can be: what is tested is the file system in the file, not the disk below it.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.expect("a folder");
        let (image, gone) = (dir.path().join("image"), dir.path().join("gone"));
        let file = File::create(&image).expect("a file");
        file.set_len(megabytes << 20).expect("a sparse file");
        let mut mkfs = Command::new(format!("mkfs.{kind}"));
        let made = mkfs.arg("-q").arg(&image).output().map_err(|e| format!("mkfs.{kind}: {e}"))?;
        if !made.status.success() {
            return Err(format!("mkfs.{kind}: {}", String::from_utf8_lossy(&made.stderr)));
        }
        std::fs::create_dir_all(at).expect("a folder");
        let mut switch = Command::new("python3")
            .args(["-c", SWITCH])
            .args([image.as_path(), at, Path::new(kind), &gone])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let hear = BufReader::new(switch.stdout.take().expect("piped"));
        let say = switch.stdin.take();
        let mut disk = Self { switch, say, hear, at: at.to_owned(), gone, _image: dir };
        if disk.answer() != "ready" {
            return Err("no loop device is to be had".to_owned());
        }
        match disk.told("mount") {
            answer if answer == "ok" => Ok(disk),
            refused => Err(format!("mounting {kind} through a loop device: {refused}")),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    pub(super) fn lamp(&self) -> Lamp {
        Lamp(File::open(&self.gone).expect("the switch made it"))
    }

    /// Cuts the power after so many microseconds: now and then the file system's own log is written out, now and then not.
    pub(super) fn cut(&mut self, flush_log: bool, micros: u64) {
        let flag = if flush_log { 1 } else { 2 };
        assert_eq!(self.told(&format!("cut {flag} {micros}")), "ok");
    }

    /// Power is back. Nobody may hold a file of it open any more.
    pub(super) fn restart(&mut self) {
        assert_eq!(self.told("umount"), "ok");
        assert_eq!(self.told("mount"), "ok", "mounting it again");
    }

    fn told(&mut self, what: &str) -> String {
        writeln!(self.say.as_mut().expect("until dropped"), "{what}").expect("it listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.hear.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.say.take());
        let _ = self.switch.wait();
    }
}
