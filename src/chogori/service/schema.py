"""The tables of the service.

Money is in microdollars, and a price in microdollars for a million tokens: $0.60 is 600,000. Times
are seconds since the epoch. `changed` is the version of the service in which a row was last
changed, so that a server learns cheaply what another process has done.

Default prices: K2 0.60 (0.15 from the cache) and 2.50; turbo 1.15 (0.15) and 8.00; K2.5 0.60 (0.10)
and 3.00; K2.6 0.95 (0.16) and 4.00 dollars, as catalogues list them. They are rows like any other.
"""

SCHEMA = (
    """
    create table service (
        version integer not null
    );
    insert into service values (0);

    create table organisations (
        id text primary key,
        created double precision not null,
        prepaid integer not null
    );

    create table projects (
        organisation text not null,
        id text not null,
        created double precision not null,
        primary key (organisation, id)
    );

    create table keys (
        id text primary key,
        organisation text not null,
        project text not null,
        name text not null,
        digest bytea not null,
        pepper integer not null,
        scopes text not null,
        models text,
        networks text,
        shows_reasoning integer not null,
        created double precision not null,
        expires double precision,
        revoked double precision,
        successor text,
        changed integer not null
    );
    create index keys_by_change on keys (changed);

    create table limits (
        subject text primary key,
        requests_per_minute integer,
        tokens_per_minute integer,
        tokens_per_day integer,
        concurrent_requests integer
    );

    create table prices (
        model text not null,
        since double precision not null,
        input integer not null,
        cached integer not null,
        output integer not null,
        primary key (model, since)
    );
    insert into prices values
        ('kimi-k2-0711-preview', 0, 600000, 150000, 2500000),
        ('kimi-k2-0905-preview', 0, 600000, 150000, 2500000),
        ('kimi-k2-thinking', 0, 600000, 150000, 2500000),
        ('kimi-k2-turbo-preview', 0, 1150000, 150000, 8000000),
        ('kimi-k2-thinking-turbo', 0, 1150000, 150000, 8000000),
        ('kimi-k2.5', 0, 600000, 100000, 3000000),
        ('kimi-k2.6', 0, 950000, 160000, 4000000);

    create table accounts (
        id text primary key,
        microdollars integer not null
    );

    create table transfers (
        id integer primary key,
        at double precision not null,
        kind text not null,
        reference text not null,
        debit text not null,
        credit text not null,
        microdollars integer not null
    );

    create table usage (
        id integer primary key,
        request text not null unique,
        at double precision not null,
        organisation text not null,
        project text not null,
        key text not null,
        model text not null,
        prompt integer not null,
        cached integer not null,
        completion integer not null,
        reasoning integer not null,
        outcome text not null,
        seconds double precision not null,
        first_token_seconds double precision,
        upstream_seconds double precision not null,
        microdollars integer
    );
    create index usage_by_time on usage (organisation, at);

    create table reasoning (
        organisation text not null,
        call text not null,
        digest bytea not null,
        content text not null,
        at double precision not null,
        primary key (organisation, call, digest)
    );
    create index reasoning_by_time on reasoning (at);
    """,
)
