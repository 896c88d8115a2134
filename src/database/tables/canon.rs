//! The one text that a value has on two engines, by its type; a type without one is not compared. Pure.
//!
//! | kind | PostgreSQL | MariaDB, MySQL | SQL Server | text |
//! |---|---|---|---|---|
//! | whole number | `smallint` to `bigint`, `boolean` (0 and 1) | `tinyint` to `bigint`, `bit`, `year` | `tinyint` to `bigint`, `bit` | digits |
//! | decimal number | `numeric` | `decimal` | `decimal`, `money` | digits, without zeros at the end of a fraction: 1.0 is 1.00 |
//! | text | `text`, `varchar`, `character(n)`, `uuid`, `json`, enums | `char`, `varchar`, texts, `enum`, `set`, `uuid` | `char`, `varchar`, `text`, each also with `n`, `uniqueidentifier` in small letters | UTF-8; `char` without blanks at its end |
//! | bytes | `bytea` | `binary`, `varbinary`, blobs | `binary`, `varbinary`, `image` | lower-case hexadecimal |
//! | date | `date` | `date` | `date` | `2024-12-31` |
//! | time | `time` | `time` | `time` | `23:59:59.000001` |
//! | time stamp | `timestamp`, `timestamptz` in UTC | `datetime`, `timestamp` in UTC | `datetime2`, `datetimeoffset` in UTC, `datetime` to the millisecond as it is shown, `smalldatetime` | `2024-12-31 23:59:59.000001` |
//!
//! SQL Server counts tenths of a microsecond: one that is not 0 is a seventh digit, which no other engine has. Binary floating-point numbers are written differently by each engine and are not compared; nor is `jsonb`, whose keys are in
//! an order of its own, nor what only one engine has.

use super::shape::Form;
use crate::database::mysql::quoted as in_mysql;
use crate::database::postgres::quoted as in_postgres;

/// What a value is on either engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Canon {
    /// A whole number.
    Whole,
    /// A decimal number.
    Decimal,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// A day.
    Date,
    /// A time of day, or a span of hours.
    Time,
    /// A day and a time, in UTC where the type knows zones.
    Stamp,
}

impl Canon {
    /// Of a type of PostgreSQL, by its name in `pg_catalog`; enums are no types of the server's own.
    pub(super) fn of_postgres(base: &str, is_enum: bool) -> Option<Self> {
        Some(match base {
            "int2" | "int4" | "int8" | "bool" => Self::Whole,
            "numeric" => Self::Decimal,
            "text" | "varchar" | "bpchar" | "uuid" | "json" => Self::Text,
            "bytea" => Self::Bytes,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" | "timestamptz" => Self::Stamp,
            _ if is_enum => Self::Text,
            _ => return None,
        })
    }

    /// Of a data type of MariaDB or MySQL.
    pub(super) fn of_mysql(kind: &str) -> Option<Self> {
        Some(match kind {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "bit" | "year" => Self::Whole,
            "decimal" => Self::Decimal,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum"
            | "set" | "uuid" => Self::Text,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "date" => Self::Date,
            "time" => Self::Time,
            "datetime" | "timestamp" => Self::Stamp,
            _ => return None,
        })
    }

    /// Of a data type of SQL Server, and how it is converted, before [`super::sqlserver_text`] makes that the one text.
    pub(super) fn of_sqlserver(kind: &str) -> Option<(Self, Form)> {
        let spelled = |canon, text| (canon, Form::Spelled(text));
        Some(match kind {
            "bit" => (Self::Whole, Form::Bool),
            "tinyint" | "smallint" | "int" => (Self::Whole, Form::Int4),
            "bigint" => (Self::Whole, Form::Int8),
            "decimal" | "numeric" => spelled(Self::Decimal, "convert(varchar(41), {})"),
            "money" | "smallmoney" => spelled(Self::Decimal, "convert(varchar(41), {}, 2)"),
            "char" | "nchar" => spelled(Self::Text, "rtrim(convert(nvarchar(max), {}))"),
            "varchar" | "nvarchar" | "text" | "ntext" => {
                spelled(Self::Text, "convert(nvarchar(max), {})")
            }
            "uniqueidentifier" => spelled(Self::Text, "lower(convert(varchar(36), {}))"),
            "binary" | "varbinary" | "image" => {
                spelled(Self::Bytes, "lower(convert(varchar(max), convert(varbinary(max), {}), 2))")
            }
            "date" => spelled(Self::Date, "convert(varchar(10), {}, 23)"),
            "time" => spelled(Self::Time, "convert(varchar(16), convert(time(7), {}), 121)"),
            "datetime2" => {
                spelled(Self::Stamp, "convert(varchar(27), convert(datetime2(7), {}), 121)")
            }
            "datetimeoffset" => spelled(
                Self::Stamp,
                "convert(varchar(27), convert(datetime2(7), switchoffset({}, '+00:00')), 121)",
            ),
            // Thirds of ten milliseconds are shown as milliseconds; what more they hold depends on a setting of the database.
            "datetime" | "smalldatetime" => {
                let text = "concat(convert(varchar(23), convert(datetime, {}), 121), '0000')";
                spelled(Self::Stamp, text)
            }
            _ => return None,
        })
    }

    /// Whether values of the two have the same text when they are the same: a decimal number without a fraction is a whole one.
    pub(super) fn meets(self, other: Self) -> bool {
        let is_number = |it| matches!(it, Self::Whole | Self::Decimal);
        self == other || is_number(self) && is_number(other)
    }

    /// The text of a column at PostgreSQL. What has no digits, like infinity, is written as the server does.
    pub(super) fn postgres(self, column: &str) -> String {
        let name = format!("t.{}", in_postgres(column));
        match self {
            // Through text, which also takes a boolean.
            Self::Whole => format!(
                "case {name}::text when 'true' then '1' when 'false' then '0' else {name}::text end"
            ),
            Self::Decimal => format!("trim_scale({name}::numeric)::text"),
            Self::Text | Self::Date => format!("{name}::text"),
            Self::Bytes => format!("encode({name}, 'hex')"),
            Self::Time => format!("to_char({name}, 'HH24:MI:SS.US')"),
            Self::Stamp => {
                let before = format!("case when {name} < '0001-01-01' then ' BC' else '' end");
                format!(
                    "coalesce(to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US') || {before}, {name}::text)"
                )
            }
        }
    }

    /// The text of a column at MariaDB or MySQL.
    pub(super) fn mysql(self, column: &str) -> String {
        let name = format!("t.{}", in_mysql(column));
        match self {
            Self::Whole => format!("cast({name} + 0 as char)"),
            Self::Decimal => format!(
                "if(locate('.', cast({name} as char)) = 0, cast({name} as char), \
                 trim(trailing '.' from trim(trailing '0' from cast({name} as char))))"
            ),
            Self::Text => format!("convert({name} using utf8mb4)"),
            Self::Bytes => format!("lower(hex({name}))"),
            Self::Date => format!("cast({name} as char)"),
            Self::Time => format!("time_format({name}, '%H:%i:%s.%f')"),
            Self::Stamp => format!("date_format({name}, '%Y-%m-%d %H:%i:%s.%f')"),
        }
    }
}
