"""The functions a statement may call: each only computes. None writes, waits, or reaches files, network or settings."""

from typing import Final

__all__ = ["POSTGRES_FUNCTIONS", "SQLITE_FUNCTIONS"]

_SHARED: Final = """
    abs acos asin atan atan2 avg ceil ceiling coalesce concat concat_ws cos count degrees dense_rank exp first_value
    floor format lag last_value lead length ln log log10 lower ltrim max min mod nth_value ntile nullif octet_length
    percent_rank pi power radians rank replace round row_number rtrim sign sin sqrt string_agg substr substring sum tan
    trim trunc upper cume_dist random
"""

POSTGRES_FUNCTIONS: Final = frozenset(
    f"""{_SHARED}
    age any_value array_agg array_append array_cat array_dims array_length array_lower array_ndims array_position
    array_positions array_prepend array_remove array_replace array_to_json array_to_string array_upper ascii
    bit_and bit_length bit_or bool_and bool_or btrim cardinality cast cbrt char_length character_length chr
    clock_timestamp corr covar_pop covar_samp date date_bin date_part date_trunc decode div encode every extract
    generate_series generate_subscripts greatest grouping initcap isempty isfinite json_agg json_array_elements
    json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text
    json_extract_path json_extract_path_text json_object json_object_agg json_object_keys json_strip_nulls json_typeof
    jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object
    jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_object jsonb_object_agg
    jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first
    jsonb_pretty jsonb_strip_nulls jsonb_typeof justify_days justify_hours justify_interval least left lower_inc
    lower_inf lpad make_date make_interval make_time make_timestamp make_timestamptz md5 mode now num_nonnulls num_nulls
    overlay percentile_cont percentile_disc phraseto_tsquery plainto_tsquery position quote_ident quote_literal
    quote_nullable range_merge regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace
    regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy reverse right row_to_json rpad scale sha224 sha256 sha384 sha512 split_part
    starts_with statement_timestamp stddev stddev_pop stddev_samp string_to_array string_to_table strpos timeofday
    to_char to_date to_hex to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector transaction_timestamp
    translate trim_scale ts_headline ts_rank ts_rank_cd tsvector_to_array unnest upper_inc upper_inf var_pop var_samp
    variance version websearch_to_tsquery width_bucket
    bigint bit bool boolean box char character daterange decimal double float float4 float8 int int2 int4 int4range int8
    int8range integer interval json jsonb nchar numeric numrange real smallint text time timestamp timestamptz timetz
    tsrange tstzrange uuid varbit varchar varying
    """.split()
)
"""PostgreSQL's own functions and, because `numeric(10, 2)` reads like a call, its types."""

SQLITE_FUNCTIONS: Final = frozenset(
    f"""{_SHARED}
    acosh asinh atanh bm25 cast changes char cosh date datetime glob group_concat hex highlight ifnull iif instr
    json json_array json_array_length json_each json_extract json_group_array json_group_object json_object json_patch
    json_quote json_remove json_replace json_set json_tree json_type json_valid julianday like likelihood likely log2
    match printf quote regexp sinh snippet soundex sqlite_version strftime tanh time timediff total typeof unicode
    unixepoch unhex unlikely
    bigint blob character decimal double float int integer numeric real text varchar
    -> ->>
    """.split()
)
"""SQLite's own functions, its types, and the operators that its authorizer reports as functions."""
