use proptest::prelude::*;

use super::super::shape::By;
use super::*;

fn asked(name: &str, kind: &str, nullable: bool) -> Asked {
    let (canon, form) = Canon::of_sqlserver(kind).expect("a type with a text");
    Asked { name: name.to_owned(), form, canon: Some(canon), nullable, same: false, brief: false }
}

fn view(columns: Vec<Asked>, key: &[usize], split: Split) -> View {
    View {
        quoted: "[dbo].[t]".to_owned(),
        relations: Vec::new(),
        columns,
        key: key.to_vec(),
        by: By::Canon,
        split,
        drawn: None,
    }
}

fn orders(split: Split) -> View {
    view(vec![asked("id", "bigint", false), asked("n]", "nvarchar", true)], &[0], split)
}

fn ranges() -> Split {
    Split::Ranges { column: "id".to_owned(), shift: 2 }
}

const HASH: &str = "(((convert(bigint, substring(hashbytes('MD5', concat('', \
    concat(len(convert(varchar(max), t.[id])), ':', convert(varchar(max), t.[id])))), 1, 8)) & -16) / 16) \
    & convert(bigint, 1152921504606846975))";

#[test]
fn every_type_has_its_text() {
    let decimal = |text: &str| {
        format!(
            "case when charindex('.', {text}) = 0 then {text} else replace(rtrim(replace(replace(rtrim(replace({text}, '0', ' ')), \
             ' ', '0'), '.', ' ')), ' ', '.') end"
        )
    };
    let tenths = |text: &str, digits: u32| {
        format!("concat(left({text}, {digits}), nullif(right({text}, 1), '0'))")
    };
    let utf8 = |text: &str| format!("{text} collate Latin1_General_100_BIN2_UTF8");
    let utf8_text = utf8("convert(nvarchar(max), t.[v])");
    let utf8_char = utf8("rtrim(convert(nvarchar(max), t.[v]))");
    let stamp = "convert(varchar(27), convert(datetime2(7), t.[v]), 121)";
    let zoned = "convert(varchar(27), convert(datetime2(7), switchoffset(t.[v], '+00:00')), 121)";
    let shown = "concat(convert(varchar(23), convert(datetime, t.[v]), 121), '0000')";
    let bytes = "lower(convert(varchar(max), convert(varbinary(max), t.[v]), 2))";
    let cases: &[(&[&str], String)] = &[
        (&["bit", "tinyint", "smallint", "int", "bigint"], "t.[v]".to_owned()),
        (&["decimal", "numeric"], decimal("convert(varchar(41), t.[v])")),
        (&["money", "smallmoney"], decimal("convert(varchar(41), t.[v], 2)")),
        (&["varchar", "nvarchar", "text", "ntext"], utf8_text),
        (&["char", "nchar"], utf8_char),
        (&["uniqueidentifier"], utf8("lower(convert(varchar(36), t.[v]))")),
        (&["binary", "varbinary", "image"], bytes.to_owned()),
        (&["date"], "convert(varchar(10), t.[v], 23)".to_owned()),
        (&["time"], tenths("convert(varchar(16), convert(time(7), t.[v]), 121)", 15)),
        (&["datetime2"], tenths(stamp, 26)),
        (&["datetimeoffset"], tenths(zoned, 26)),
        (&["datetime", "smalldatetime"], tenths(shown, 26)),
    ];
    for (kinds, text) in cases {
        for kind in *kinds {
            let expected = format!("convert(varchar(max), {text})");
            assert_eq!(value(&asked("v", kind, false)), expected, "{kind}");
        }
    }
}

#[test]
fn characters_are_counted_with_blanks_at_their_end_and_by_no_second_collation() {
    let counted =
        |text: &str| format!("len({text} collate Latin1_General_100_CI_AS_SC + N'.') - 1");
    let length = |kind: &str| length(&asked("v", kind, true));
    assert_eq!(length("nvarchar"), counted("convert(nvarchar(max), t.[v])"));
    assert_eq!(length("char"), counted("rtrim(convert(nvarchar(max), t.[v]))"));
    assert_eq!(length("uniqueidentifier"), counted("lower(convert(varchar(36), t.[v]))"));
    assert_eq!(length("date"), "len(convert(varchar(max), convert(varchar(10), t.[v], 23)))");
    for kind in ["nvarchar", "char", "uniqueidentifier", "int"] {
        let once = |told: &str| told.matches(" collate ").count() <= 1;
        assert!(once(&length(kind)) && once(&value(&asked("v", kind, true))), "{kind}");
    }
}

#[test]
fn what_has_no_text_is_none() {
    for kind in [
        "float",
        "real",
        "xml",
        "sql_variant",
        "timestamp",
        "geography",
        "geometry",
        "hierarchyid",
        "json",
        "vector",
        "",
    ] {
        assert_eq!(Canon::of_sqlserver(kind), None, "{kind}");
    }
}

#[test]
fn a_range_is_summed_in_digits_that_never_overflow() {
    let told = range(&orders(ranges()), "id", -3, (-12, -9));
    assert!(
        told.starts_with(
            "select convert(nvarchar(20), p) as c0, convert(nvarchar(20), count_big(*)) as c1, \
             convert(nvarchar(40), sum(convert(numeric(38, 0), h))) as c2 from (select convert(bigint, -3) as p, (((convert(bigint"
        ),
        "{told}"
    );
    assert!(
        told.ends_with(
            " as h from [dbo].[t] t where t.[id] between convert(bigint, -12) and convert(bigint, -9)) s group by p option (maxdop 1)"
        ),
        "{told}"
    );
    let null = "case when t.[n]]] is not null then concat(len(";
    assert!(told.contains(null) && told.contains(" else 'n' end"), "{told}");
    // A sample hashes the rows of its parts.
    let mut sample = orders(ranges());
    sample.drawn = Some(vec![4, 5]);
    let told = range(&sample, "id", 5, (20, 23));
    assert!(told.contains("case when convert(bigint, 5) in (4, 5) then ((("), "{told}");
}

#[test]
fn parts_and_cells_are_those_of_the_hash_of_the_key() {
    let hashed = orders(Split::Hashed);
    let told = summed(&hashed);
    assert!(told.contains(&format!("(select ({HASH} & 1023) as p, ")), "{told}");
    let told = cells(&hashed, &[1, 2]);
    assert!(told.contains(&format!("(select ({HASH} & 1048575) as p, ")), "{told}");
    assert!(told.contains(&format!("where ({HASH} & 1023) in (1, 2)")), "{told}");
    let told = cells(&orders(ranges()), &[1]);
    assert!(told.contains(&format!("(select ({HASH} & 1023) as p, ")), "{told}");
    assert!(told.contains("where t.[id] between convert(bigint, 4) and convert(bigint, 7)"));
}

#[test]
fn rows_are_told_by_key_or_counted_without_one() {
    let told = marked(&orders(ranges()), &[1], &[7]);
    assert!(
        told.starts_with(
            "select c0000, convert(nvarchar(20), c0001) as c0001, convert(nvarchar(20), c0002) as c0002, N'1' as n from \
             (select convert(nvarchar(max), convert(varchar(max), t.[id])) as c0000, (((convert("
        ),
        "{told}"
    );
    assert!(told.contains(", case when t.[n]]] is not null then (((convert("), "{told}");
    assert!(told.ends_with("& 1023) in (7)) s option (maxdop 1)"), "{told}");
    let told = marked(&view(vec![asked("v", "int", true)], &[], Split::Hashed), &[1], &[7]);
    let counted = "select convert(nvarchar(20), c0000) as c0000, convert(nvarchar(20), count_big(*)) as n from ";
    assert!(told.starts_with(counted), "{told}");
    assert!(told.ends_with(" s group by c0000 option (maxdop 1)"), "{told}");
}

#[test]
fn a_wide_row_is_put_together_in_steps() {
    let columns: Vec<_> = (0..450).map(|at| asked(&format!("c{at}"), "int", false)).collect();
    let told = joined(&columns.iter().collect::<Vec<_>>());
    assert_eq!(told.matches("concat('', ").count(), 4, "{told}");
    assert_eq!(told.matches("concat(len(").count(), 450);
}

proptest! {
    /// The arithmetic of [`text_hash`], as the engine does it: whole numbers of 64 bits with a sign, division towards zero.
    #[test]
    fn sixty_bits_are_a_number_without_a_sign(digest: [u8; 8]) {
        let told = ((i64::from_be_bytes(digest) & -16) / 16) & ((1 << 60) - 1);
        prop_assert_eq!(told.cast_unsigned(), u64::from_be_bytes(digest) >> 4);
    }
}
