//! MariaDB and MySQL: sessions whose settings do not depend on the server's.

mod server;

pub use server::{Product, Reader, Row, Server, quoted};
