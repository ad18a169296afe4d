-- The tables of the SQLite engine. Times are microseconds of store time; sets are sealed blobs.

create table meta (
    only_one integer primary key check (only_one = 1),
    incarnation integer not null,
    secret blob not null,
    change integer not null,
    now_us integer not null,
    totals blob not null
);

create table channel (number integer primary key, name text not null unique);
create table error (number integer primary key, text text not null unique);
create table imported (digest text primary key) without rowid;

-- A number is given once and never again.
create table user (number integer primary key, id text not null unique);

create table author (
    number integer primary key,
    followers integer not null,
    last_seq integer not null,
    last_ordinal integer not null,
    newest blob not null,
    last_loss integer not null,
    expired integer not null
);

-- An index of posts by author would dirty a random page a post; older seqs lie here by 32 instead.
create table author_block (
    number integer not null,
    first integer not null,
    seqs blob not null,
    primary key (number, first)
) without rowid;

create table muted_by (author integer primary key, members blob not null);

create table relation (
    user integer not null,
    author integer not null,
    kind integer not null,
    since integer not null,
    until integer not null,
    base integer not null,
    primary key (user, kind, author, since)
) without rowid;

-- What a person has read: everything up to a change, but for the posts whose ordinals are flipped.
create table read_up_to (user integer primary key, change integer not null);
create table read_mark (
    user integer not null,
    author integer not null,
    flipped blob not null,
    primary key (user, author)
) without rowid;

create table segment (
    id integer primary key autoincrement,
    author integer not null,
    lower integer not null,
    since integer not null,
    until integer not null,
    size integer not null,
    members blob not null
);
create unique index segment_version on segment (author, lower, since);
create index segment_current on segment (author, lower) where until = 0;

create table post (
    seq integer primary key,
    id text not null unique,
    author integer not null,
    author_name text,
    ordinal integer not null,
    created_at_us integer not null,
    received_at_us integer not null,
    audience integer not null,
    queued integer not null,
    retracted integer not null,
    content text not null
);

create table retraction (
    post integer primary key,
    stopped integer not null,
    hidden integer not null
);
create table retracted_of (author integer primary key, ordinals blob not null);

create table batch (
    post integer not null,
    channel integer not null,
    segment integer not null,
    part integer not null,
    state integer not null,
    due_us integer,
    error integer not null,
    changed integer not null,
    members blob,
    primary key (post, channel, segment, part)
) without rowid;
create index waiting on batch (post, due_us) where state < 2;
create index due on batch (due_us) where due_us is not null;

create index dead on batch (channel, error, post) where state = 3;

create table dead_group (
    channel integer not null,
    error integer not null,
    dead integer not null,
    first_us integer not null,
    last_us integer not null,
    primary key (channel, error)
) without rowid;

create table lease (
    id integer primary key,
    session text not null,
    post integer not null,
    channel integer not null,
    segment integer not null,
    part integer not null,
    low integer not null,
    high integer not null,
    deaths integer not null
);
