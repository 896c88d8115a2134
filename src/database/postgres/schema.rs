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

/// Schemas of the server itself, of temporary tables and the table of this program's own marks are nobody's. An owner and
/// grants are part of the statement.
const OBJECTS: &str = "with spaces as (select oid, nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner)) as nspacl from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'),
    classes as (select class.*, nspname || '.' || relname as name, concat_ws(' ', relowner::regrole, coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::\"char\", relowner))) as rights
        from pg_class class join spaces on spaces.oid = relnamespace where nspname <> 'migrate' or relname not like 'marker%'),
    objects as (
        select case relkind when 'f' then 'foreign_table' else 'table' end as kind, name,
            concat_ws(' ', relpersistence, relreplident, relrowsecurity, relforcerowsecurity, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid),
                (select string_agg(inhparent::regclass::text, ', ' order by inhseqno) from pg_inherits where inhrelid = classes.oid), rights)
            || ' ' || coalesce((select string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
                attidentity, attgenerated, coalesce(attacl, '{}'), pg_get_expr(adbin, adrelid)), ', ' order by attnum)
                from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
                where attrelid = classes.oid and attnum > 0 and not attisdropped), '') as statement
            from classes where relkind in ('r', 'p', 'f')
        union all select 'view', name, concat_ws(' ', pg_get_viewdef(oid), rights) from classes where relkind in ('v', 'm')
        union all select 'index', name, pg_get_indexdef(oid) from classes where relkind in ('i', 'I')
        union all select 'sequence', name, concat_ws(' ', format_type(seqtypid, null), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle, rights)
            from classes join pg_sequence on seqrelid = oid
        union all select 'constraint', name || '.' || conname, pg_get_constraintdef(con.oid) from classes join pg_constraint con on conrelid = classes.oid
        union all select 'trigger', name || '.' || tgname, pg_get_triggerdef(tg.oid) || tgenabled::text from classes join pg_trigger tg on tgrelid = classes.oid
            where not tgisinternal
        union all select 'inner triggers', name, string_agg(tgenabled::text, '' order by tg.oid) from classes join pg_trigger tg on tgrelid = classes.oid
            where tgisinternal group by name
        union all select 'rule', name || '.' || rulename, pg_get_ruledef(rule.oid) || ev_enabled::text from classes join pg_rewrite rule on ev_class = classes.oid
            where rulename <> '_RETURN'
        union all select 'policy', name || '.' || polname, concat_ws(' ', polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
            from classes join pg_policy on polrelid = classes.oid
        union all select 'statistics', nspname || '.' || stxname, pg_get_statisticsobjdef(statistics.oid) from pg_statistic_ext statistics join spaces on spaces.oid = stxnamespace
        union all select 'function', nspname || '.' || proname || '(' || pg_get_function_identity_arguments(proc.oid) || ')',
            concat_ws(' ', case when prokind in ('f', 'p') then pg_get_functiondef(proc.oid) else concat_ws(' ', prokind, prosrc) end, proowner::regrole, coalesce(proacl, acldefault('f', proowner)))
            from pg_proc proc join spaces on spaces.oid = pronamespace
        union all select 'aggregate', aggfnoid::text, to_jsonb(pg_aggregate)::text from pg_aggregate join pg_proc proc on proc.oid = aggfnoid
            join spaces on spaces.oid = pronamespace
        union all select 'type', nspname || '.' || typname, string_agg(enumlabel, ', ' order by enumsortorder)
            from pg_type type join spaces on spaces.oid = typnamespace join pg_enum on enumtypid = type.oid group by 1, 2
        union all select 'domain', nspname || '.' || typname, concat_ws(' ', format_type(typbasetype, typtypmod), typnotnull, typdefault,
                (select string_agg(conname || ' ' || pg_get_constraintdef(con.oid), ', ' order by conname) from pg_constraint con where contypid = type.oid))
            from pg_type type join spaces on spaces.oid = typnamespace where typtype = 'd'
        union all select 'composite', nspname || '.' || typname, (select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)
                from pg_attribute where attrelid = typrelid and attnum > 0 and not attisdropped)
            from pg_type type join spaces on spaces.oid = typnamespace join pg_class on pg_class.oid = typrelid where typtype = 'c' and relkind = 'c'
        union all select 'schema', nspname, concat_ws(' ', nspowner::regrole, nspacl) from spaces where nspname <> 'migrate'
        union all select 'publication', pubname, concat_ws(' ', puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, pubowner::regrole,
                (select string_agg((to_jsonb(listed) - 'pubname')::text, ', ' order by schemaname, tablename) from pg_publication_tables listed
                    where listed.pubname = pub.pubname and (schemaname, tablename) <> ('migrate', 'marker') and not puballtables))
            from pg_publication pub
        union all select 'extension', extname, extversion from pg_extension)
    select coalesce(json_agg(objects order by kind, name), '[]')::text from objects";

/// Every object, by kind and name.
pub async fn schema(reader: &mut Reader) -> Result<Vec<SchemaObject>, DatabaseError> {
    let found: Vec<Object> = reader.json(OBJECTS, &[]).await?;
    let object = |Object { kind, name, statement }| SchemaObject { kind, name, statement };
    Ok(found.into_iter().map(object).collect())
}
