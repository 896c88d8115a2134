//! The page of every code: what `migrate explain CODE` prints.
//!
//! A code without its page does not compile; a page without its code is found by a test.

macro_rules! pages {
    ($($code:ident),* $(,)?) => {
        /// Every code with its page, in order.
        pub const PAGES: &[(&str, &str)] = &[
            $((stringify!($code), include_str!(concat!("codes/", stringify!($code), ".md")))),*
        ];
    };
}

pages![
    MIG0001, MIG0101, MIG0102, MIG0103, MIG0104, MIG0105, MIG0106, MIG0107, MIG0108, MIG0109,
    MIG0110, MIG0111, MIG0112, MIG0113, MIG0114, MIG0115, MIG0121, MIG0122, MIG0201, MIG0202,
    MIG0203, MIG0204, MIG0205, MIG0206, MIG0207, MIG0208, MIG0209, MIG0210, MIG0211, MIG0212,
    MIG0231, MIG0232, MIG0233, MIG0234, MIG0235, MIG0301, MIG0302, MIG0303, MIG0304, MIG0305,
    MIG0306, MIG0307, MIG0308, MIG0309, MIG0401, MIG0402, MIG0403, MIG0404, MIG0405, MIG0406,
    MIG0411, MIG0412, MIG0413, MIG0414, MIG0421, MIG0422, MIG0431, MIG0432, MIG0433, MIG0441,
    MIG0442, MIG0443, MIG0451, MIG0452, MIG0461, MIG0462, MIG0463, MIG0464, MIG0501, MIG0502,
    MIG0503, MIG0504, MIG0505, MIG0506, MIG0507, MIG0511, MIG0512, MIG0520, MIG0521, MIG0522,
    MIG0523, MIG0524, MIG0525, MIG0601, MIG0602, MIG0603, MIG0604, MIG0605, MIG0606, MIG0607,
    MIG0701, MIG0702, MIG0703, MIG0704, MIG0705, MIG0706, MIG0707, MIG0708, MIG0709, MIG0710,
    MIG0711, RB001, RB002, RB003, RB004, RB005, RB006, RB007, RB008, RB010, RB011, RB012, RB013,
    RB014, RB015, RB016, RB017, RB018, RB019, RB020, RB021, RB022, RB023, RB024, RB025, RB026,
    RB027, RB028, RB029,
];

/// The page of a code, however its letters are written.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(name, _)| name.eq_ignore_ascii_case(code)).map(|&(_, page)| page)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_page_is_listed_and_begins_with_its_title() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnostic/codes");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let listed: Vec<String> = PAGES.iter().map(|(code, _)| format!("{code}.md")).collect();
        assert_eq!(files, listed, "list every page of src/diagnostic/codes in codes.rs, in order");
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}: ")), "{code} begins with its title");
            assert!(page.lines().count() > 4, "{code} says too little");
        }
    }
}
