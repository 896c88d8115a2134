//! The schema of a database, object by object, with the statement that makes each: what a freeze watches.

use serde::Deserialize;

use super::super::{DatabaseError, SchemaObject};
use super::Reader;

#[derive(Deserialize)]
struct Object {
    kind: String,
    name: String,
    statement: String,
}

/// Schemas of the server itself, of temporary tables and of this program's own marks are nobody's.
const OBJECTS: &str = "with spaces as (select oid, nspname from pg_namespace where nspname !~ '^(pg_|information_schema$|migrate$)'),
    classes as (select class.*, nspname || '.' || relname as name from pg_class class join spaces on spaces.oid = relnamespace),
    objects as (
        select case relkind when 'f' then 'foreign_table' else 'table' end as kind, name,
            relpersistence::text || ' ' || coalesce((select string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
                attidentity, attgenerated, pg_get_expr(adbin, adrelid)), ', ' order by attnum)
                from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
                where attrelid = classes.oid and attnum > 0 and not attisdropped), '') as statement
            from classes where relkind in ('r', 'p', 'f')
        union all select 'view', name, pg_get_viewdef(oid) from classes where relkind in ('v', 'm')
        union all select 'index', name, pg_get_indexdef(oid) from classes where relkind in ('i', 'I')
        union all select 'sequence', name, concat_ws(' ', format_type(seqtypid, null), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
            from classes join pg_sequence on seqrelid = oid
        union all select 'constraint', name || '.' || conname, pg_get_constraintdef(con.oid) from classes join pg_constraint con on conrelid = classes.oid
        union all select 'trigger', name || '.' || tgname, pg_get_triggerdef(tg.oid) || tgenabled::text from classes join pg_trigger tg on tgrelid = classes.oid
            where not tgisinternal
        union all select 'function', nspname || '.' || proname || '(' || pg_get_function_identity_arguments(proc.oid) || ')', pg_get_functiondef(proc.oid)
            from pg_proc proc join spaces on spaces.oid = pronamespace where prokind in ('f', 'p')
        union all select 'type', nspname || '.' || typname, string_agg(enumlabel, ', ' order by enumsortorder)
            from pg_type type join spaces on spaces.oid = typnamespace join pg_enum on enumtypid = type.oid group by 1, 2
        union all select 'extension', extname, extversion from pg_extension)
    select coalesce(json_agg(objects order by kind, name), '[]')::text from objects";

/// Every object, by kind and name.
pub async fn schema(reader: &mut Reader) -> Result<Vec<SchemaObject>, DatabaseError> {
    let found: Vec<Object> = reader.json(OBJECTS, &[]).await?;
    let object = |Object { kind, name, statement }| SchemaObject { kind, name, statement };
    Ok(found.into_iter().map(object).collect())
}
