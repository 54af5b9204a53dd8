"""What somebody may plant who may create objects in a schema of another user's search path.

Of each of PostgreSQL's own functions and operators there is one with the same name and arguments in
schema ``planted``, and more for arguments of which PostgreSQL has none, so that they would match
better; and domains, tables and casts. Whatever is planted counts, and fails, when it is reached.
Counting is done by a sequence, which no rollback takes back.
"""

from __future__ import annotations

SCHEMA = "planted"

#: Functions: each as PostgreSQL has it, where the types of its arguments and result can be written.
_FUNCTIONS = """
CREATE SCHEMA planted;
CREATE SEQUENCE planted.reached;
DO $do$
DECLARE
    one record;
    body text := 'BEGIN PERFORM pg_catalog.nextval(''planted.reached'');'
        ' RAISE EXCEPTION ''planted: %s'' USING ERRCODE = ''P0666''; END';
BEGIN
    FOR one IN
        SELECT p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
            format_type(p.prorettype, NULL) AS result, p.proretset
        FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a', 'w')
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION planted.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS %L',
                one.name, one.arguments, CASE WHEN one.proretset THEN 'SETOF' ELSE '' END,
                one.result, format(body, one.name));
        EXCEPTION WHEN OTHERS THEN NULL;  -- a type that only functions in C may have
        END;
    END LOOP;
END $do$;
"""

#: Arguments of which PostgreSQL's functions have none, or take by a cast.
_BETTER = """
DO $do$
DECLARE
    names text[] := '{abs,age,any_value,array_agg,array_position,array_to_string,avg,bool_and,'
        'bool_or,btrim,coalesce,concat,concat_ws,convert_to,count,current_database,current_schemas,'
        'current_setting,date_trunc,dense_rank,format,format_type,generate_series,hashtext,'
        'hashtextextended,json_agg,json_build_array,json_build_object,jsonb_build_object,'
        'jsonb_object_agg,left,length,lower,lpad,max,min,now,nullif,num_nulls,pg_backend_pid,'
        'pg_encoding_to_char,pg_get_viewdef,pg_my_temp_schema,quote_ident,rank,replace,round,'
        'row_number,row_to_json,satisfies_hash_partition,set_config,string_agg,substring,sum,'
        'timezone,to_char,to_json,to_jsonb,unnest,upper}';
    types text[] := '{text,name,varchar,bpchar,int2,int4,int8,numeric,float4,float8,bool,date,'
        'timestamp,timestamptz,interval,oid,"\\"char\\"",anyelement,anyarray,int4[],int8[],text[],'
        'name[],oid[],regclass,regtype}';
    several text[] := '{"","text,name,name","text,text,text","text,varchar,varchar",'
        '"VARIADIC anyarray","text,VARIADIC anyarray","text,anyelement","name,anyelement",'
        '"text,text,bool","varchar,varchar,bool","name,text,bool","text,int4","varchar,int4",'
        '"text,bool","int4,int8","int8,int4","anyelement,anyelement","anyarray,anyelement"}';
    name text;
    arguments text;
    body text := 'BEGIN PERFORM pg_catalog.nextval(''planted.reached'');'
        ' RAISE EXCEPTION ''planted: %s'' USING ERRCODE = ''P0666''; END';
BEGIN
    several := several || types || ARRAY(SELECT t || ', ' || t FROM unnest(types) AS t);
    FOREACH name IN ARRAY names LOOP
        FOREACH arguments IN ARRAY several LOOP
            BEGIN
                EXECUTE format('CREATE FUNCTION planted.%I(%s) RETURNS text LANGUAGE plpgsql AS %L',
                    name, arguments, format(body, name));
            EXCEPTION WHEN OTHERS THEN NULL;  -- there already
            END;
        END LOOP;
    END LOOP;
END $do$;
"""

#: Operators: PostgreSQL's own, and its usual ones between all pairs of some types.
_OPERATORS = """
CREATE TYPE planted.kind AS (x int);
DO $do$
DECLARE
    one record;
    made text;
    body text := 'BEGIN PERFORM pg_catalog.nextval(''planted.reached'');'
        ' RAISE EXCEPTION ''planted %s'' USING ERRCODE = ''P0666''; END';
BEGIN
    FOR one IN
        SELECT oprname AS name, nullif(oprleft, 0)::regtype::text AS l,
            oprright::regtype::text AS r, oprresult::regtype::text AS result
        FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace
        UNION
        SELECT name, l, r, CASE WHEN name ~ '[=<>~]' THEN 'boolean' WHEN name = '||' THEN 'text'
            ELSE r END
        FROM unnest('{=,<>,<,>,<=,>=,+,-,*,/,%,||,~,~~,!~~,~~*}'::text[]) AS name,
            unnest('{text,name,varchar,bpchar,smallint,integer,bigint,numeric,real,'
                'double precision,boolean,date,timestamptz,interval,oid,anyelement,planted.kind}'
                ::text[]) AS l,
            unnest('{text,name,varchar,bpchar,smallint,integer,bigint,numeric,real,'
                'double precision,boolean,date,timestamptz,interval,oid,anyelement,planted.kind}'
                ::text[]) AS r
    LOOP
        made := 'operator ' || coalesce(one.l, 'none') || ' ' || one.r || ' ' || one.result;
        BEGIN
            IF to_regproc('planted.' || quote_ident(made)) IS NULL THEN
                EXECUTE format('CREATE FUNCTION planted.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                    made, concat_ws(', ', one.l, one.r), one.result, format(body, made));
            END IF;
            EXECUTE format('CREATE OPERATOR planted.%s (%s RIGHTARG = %s, FUNCTION = planted.%I)',
                one.name, coalesce('LEFTARG = ' || one.l || ',', ''), one.r, made);
        EXCEPTION WHEN OTHERS THEN NULL;  -- there already, or of a type that cannot be written
        END;
    END LOOP;
END $do$;
"""

#: Types and relations by PostgreSQL's own names, and casts into a type of one's own.
_TYPES_AND_TABLES = """
CREATE FUNCTION planted.alarm(anyelement) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN
        PERFORM pg_catalog.nextval('planted.reached');
        RAISE EXCEPTION 'planted type' USING ERRCODE = 'P0666';
    END$$;
DO $do$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT typname AS name FROM pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typcategory <> 'A'
    LOOP
        BEGIN
            EXECUTE format('CREATE DOMAIN planted.%I AS pg_catalog.%I CHECK (planted.alarm(VALUE))',
                one.name, one.name);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR one IN
        SELECT relname AS name FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        EXECUTE format('CREATE VIEW planted.%I AS SELECT planted.alarm(1) AS oid,'
            ' planted.alarm(2) AS name, planted.alarm(3) AS setting', one.name);
    END LOOP;
    FOR one IN
        SELECT unnest('{text,name,varchar,int4,int8,numeric,float8,date,oid,bool}'::regtype[])
            AS source
    LOOP
        EXECUTE format('CREATE FUNCTION planted.into_kind(%s) RETURNS planted.kind LANGUAGE plpgsql'
            ' AS %L', one.source, 'BEGIN PERFORM pg_catalog.nextval(''planted.reached'');'
            ' RAISE EXCEPTION ''planted cast'' USING ERRCODE = ''P0666''; END');
        EXECUTE format('CREATE CAST (%s AS planted.kind) WITH FUNCTION planted.into_kind(%s)'
            ' AS IMPLICIT', one.source, one.source);
    END LOOP;
END $do$;
"""

PLANTING = _FUNCTIONS + _BETTER + _OPERATORS + _TYPES_AND_TABLES
COUNT = """
SELECT count(*) FROM (
    SELECT FROM pg_proc WHERE pronamespace = 'planted'::regnamespace
    UNION ALL SELECT FROM pg_operator WHERE oprnamespace = 'planted'::regnamespace
    UNION ALL SELECT FROM pg_type WHERE typnamespace = 'planted'::regnamespace) AS planted
"""
REACHED = "SELECT is_called FROM planted.reached"
FORGET = "SELECT pg_catalog.setval('planted.reached', 1, false)"
