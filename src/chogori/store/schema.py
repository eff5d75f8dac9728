"""The tables of the store itself: logs, their entries and blobs, leases, messages that wait.

Tables whose rows hold much are kept in the order of writing, so that a commit touches the last page
of each, however many logs grow at once.
"""

SCHEMA = (
    """
    create table logs (
        id integer primary key,
        name text not null unique,
        kind text not null,
        parent text,
        begun double precision not null,
        count integer not null,
        head bytea not null,
        seal bytea not null,
        posted integer not null
    );
    create index logs_by_kind on logs (kind);
    create index logs_by_parent on logs (parent);

    create table entries (
        log integer not null,
        sequence integer not null,
        body bytea not null,
        blobs bytea not null,
        hash bytea not null,
        primary key (log, sequence)
    );

    create table blobs (
        log integer not null,
        address bytea not null,
        digest bytea,
        nonce bytea,
        content bytea,
        primary key (log, address)
    );
    create unique index blobs_by_digest on blobs (log, digest);

    create table leases (
        name text primary key,
        owner text,
        fence integer not null,
        until double precision not null
    );

    create table messages (
        log integer not null,
        number integer not null,
        body bytea not null,
        primary key (log, number)
    );
    """,
)
