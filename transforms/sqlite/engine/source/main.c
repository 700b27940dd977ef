// The sqlite transform: the SQL of its param is run on the database that comes
// in. Two things only native code does: as "check" it reads a database where it
// lies, whatever its size, and tells whether it is sound; as "parse" it tells
// what no database can make right in the SQL. build.sh makes sqlite.wasm of it,
// and sqlite.wasm.go of that.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sqlite3.h"

#define MAGIC "SQLite format 3"
#define HEADER 100

// Where the header says whether the database has a write-ahead log (2) or not
// (1), once for readers and once for writers. Here it is one file.
#define VERSIONS 18

// The database, in chunks: none has to be copied when it grows.
#define CHUNK 65536
static unsigned char **chunks;
static sqlite3_int64 chunk_count, size;
static int in_place; // stdin is the database, and can be read at random

// As a program in Go ends then, which hosts know.
#define NO_MEMORY "fatal error: out of memory"

static void say(const char *text) {
  for (size_t left = strlen(text); left > 0;) {
    ssize_t n = write(2, text, left);
    if (n <= 0) return;
    text += n, left -= n;
  }
}

static void end(int code, const char *reason, const char *detail) {
  if (code == 2) say("state refused: ");
  say(reason);
  say(detail);
  say("\n");
  exit(code);
}

static void fail(const char *reason) { end(1, reason, ""); }
static void refuse(const char *reason) { end(2, reason, ""); }

// The file system: one file, the database.

static int grow(sqlite3_int64 to) {
  while (chunk_count * CHUNK < to) {
    if ((chunk_count & (chunk_count - 1)) == 0) { // a power of two
      unsigned char **more = realloc(chunks, (chunk_count ? 2 * chunk_count : 1) * sizeof *chunks);
      if (!more) return SQLITE_IOERR_NOMEM;
      chunks = more;
    }
    unsigned char *chunk = malloc(CHUNK);
    if (!chunk) return SQLITE_IOERR_NOMEM;
    memset(chunk, 0, CHUNK);
    chunks[chunk_count++] = chunk;
  }
  return SQLITE_OK;
}

// piece returns what lies at an offset, and how much of it in one chunk.
static unsigned char *piece(sqlite3_int64 at, int wanted, int *length) {
  int inside = at % CHUNK;
  *length = wanted < CHUNK - inside ? wanted : CHUNK - inside;
  return chunks[at / CHUNK] + inside;
}

static int file_close(sqlite3_file *f) { return SQLITE_OK; }

static int read_in_place(unsigned char *to, int count, sqlite3_int64 at) {
  if (lseek(0, at, SEEK_SET) != at) return SQLITE_IOERR_READ;
  for (int done = 0, n; done < count; done += n) {
    if ((n = read(0, to + done, count - done)) <= 0) return SQLITE_IOERR_READ;
  }
  for (int i = VERSIONS; i < VERSIONS + 2; i++) {
    if (at <= i && i < at + count && to[i - at] == 2) to[i - at] = 1;
  }
  return SQLITE_OK;
}

static int file_read(sqlite3_file *f, void *to, int count, sqlite3_int64 at) {
  int have = at >= size ? 0 : size - at < count ? size - at : count, length;
  if (in_place && read_in_place(to, have, at)) return SQLITE_IOERR_READ;
  for (int done = 0; done < have && !in_place; done += length) {
    unsigned char *from = piece(at + done, have - done, &length);
    memcpy((char *)to + done, from, length);
  }
  if (have == count) return SQLITE_OK;
  memset((char *)to + have, 0, count - have);
  return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *f, const void *from, int count, sqlite3_int64 at) {
  int length, rc = grow(at + count);
  if (rc) return rc;
  for (int done = 0; done < count; done += length) {
    unsigned char *to = piece(at + done, count - done, &length);
    memcpy(to, (const char *)from + done, length);
  }
  if (at + count > size) size = at + count;
  return SQLITE_OK;
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 to) {
  int length;
  for (sqlite3_int64 at = to; at < size; at += length) {
    unsigned char *gone = piece(at, size - at < CHUNK ? size - at : CHUNK, &length);
    memset(gone, 0, length);
  }
  if (to < size) size = to;
  return SQLITE_OK;
}

static int file_sync(sqlite3_file *f, int flags) { return SQLITE_OK; }
static int file_size(sqlite3_file *f, sqlite3_int64 *to) { return *to = size, SQLITE_OK; }
static int file_lock(sqlite3_file *f, int lock) { return SQLITE_OK; }
static int file_reserved(sqlite3_file *f, int *to) { return *to = 0, SQLITE_OK; }
static int file_control(sqlite3_file *f, int op, void *arg) { return SQLITE_NOTFOUND; }
static int file_sector(sqlite3_file *f) { return 4096; }
static int file_character(sqlite3_file *f) { return SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

static const sqlite3_io_methods file_methods = {
    1,         file_close, file_read,     file_write,   file_truncate, file_sync,
    file_size, file_lock,  file_lock,     file_reserved, file_control, file_sector,
    file_character};

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *got) {
  if (!(flags & SQLITE_OPEN_MAIN_DB) || !name || strcmp(name, "state")) return SQLITE_CANTOPEN;
  f->pMethods = &file_methods;
  if (got) *got = flags;
  return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync) { return SQLITE_IOERR_DELETE_NOENT; }
static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *to) { return *to = 0, SQLITE_OK; }

static int vfs_path(sqlite3_vfs *v, const char *name, int room, char *to) {
  if (strlen(name) >= (size_t)room) return SQLITE_CANTOPEN;
  return strcpy(to, name), SQLITE_OK;
}

// A transform is a pure function: random numbers and the clock are those of the ABI.

static int vfs_random(sqlite3_vfs *v, int count, char *to) {
  static unsigned state = 1;
  for (int i = 0; i < count; i++) state = state * 1664525 + 1013904223, to[i] = state >> 24;
  return count;
}

static int vfs_sleep(sqlite3_vfs *v, int us) { return us; }

static int vfs_time(sqlite3_vfs *v, sqlite3_int64 *to) {
  *to = 210866760000000 + 1640995200000; // 2022-01-01 in milliseconds of the Julian day
  return SQLITE_OK;
}

static int vfs_error(sqlite3_vfs *v, int room, char *to) { return 0; }

static sqlite3_vfs vfs = {
    .iVersion = 2, .szOsFile = sizeof(sqlite3_file), .mxPathname = 64, .zName = "state",
    .xOpen = vfs_open, .xDelete = vfs_delete, .xAccess = vfs_access, .xFullPathname = vfs_path,
    .xRandomness = vfs_random, .xSleep = vfs_sleep, .xGetLastError = vfs_error, .xCurrentTimeInt64 = vfs_time};

int sqlite3_os_init(void) { return sqlite3_vfs_register(&vfs, 1); }
int sqlite3_os_end(void) { return SQLITE_OK; }

// The transform.

static void read_state(const char *name) {
  for (;;) {
    int room, got;
    if (grow(size + 1)) fail(NO_MEMORY);
    unsigned char *to = piece(size, CHUNK, &room);
    if ((got = read(0, to, room)) < 0) fail("cannot read the state");
    if (got == 0) break;
    size += got;
  }
  if (size < HEADER || memcmp(chunks[0], MAGIC, sizeof MAGIC)) end(2, name, " is no SQLite database");
}

static void write_state(void) {
  int length;
  for (sqlite3_int64 at = 0; at < size; at += length) {
    unsigned char *from = piece(at, size - at < CHUNK ? size - at : CHUNK, &length);
    for (int done = 0, n; done < length; done += n) {
      if ((n = write(1, from + done, length - done)) <= 0) fail("cannot write the state");
    }
  }
}

static sqlite3 *db;

static void must(int rc) {
  if (rc == SQLITE_OK) return;
  if ((rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM) fail(NO_MEMORY);
  const char *missing = db ? strstr(sqlite3_errmsg(db), "no such module: ") : 0;
  if (missing) end(2, missing, ", which this SQLite does not have: the SQL must leave the tables made with it alone");
  refuse(db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

static void run(const char *sql) { must(sqlite3_exec(db, sql, 0, 0, 0)); }

// first returns a statement at its first row, or NULL.
static sqlite3_stmt *first(const char *sql) {
  sqlite3_stmt *rows;
  must(sqlite3_prepare_v2(db, sql, -1, &rows, 0));
  int rc = sqlite3_step(rows);
  if (rc == SQLITE_ROW) return rows;
  must(sqlite3_finalize(rows));
  return 0;
}

static const char *text(sqlite3_stmt *rows, int column) {
  const char *value = (const char *)sqlite3_column_text(rows, column);
  return value ? value : "";
}

static void check_keys(void) {
  sqlite3_stmt *rows = first("PRAGMA foreign_key_check");
  if (!rows) return;
  char *reason = sqlite3_mprintf("a row of %s refers to a row of %s that is not there", text(rows, 0), text(rows, 2));
  refuse(reason ? reason : "a row refers to a row that is not there");
}

static void open_state(int flags) {
  must(sqlite3_initialize());
  must(sqlite3_open_v2("state", &db, flags, 0));
  sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
}

// check_in_place ends with 2 if the database is damaged. One with functions or
// collations that are not here cannot be judged.
static int check_in_place(void) {
  in_place = 1;
  if ((size = lseek(0, 0, SEEK_END)) < 0) fail("cannot read the state");
  open_state(SQLITE_OPEN_READONLY);
  sqlite3_stmt *rows = 0;
  int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &rows, 0);
  if (rc == SQLITE_OK) rc = sqlite3_step(rows);
  if (rc == SQLITE_ROW) {
    const char *finding = text(rows, 0), *next = strchr(finding, '\n');
    if (next && !strncmp(finding, "*** ", 4)) finding = next + 1; // "*** in database main ***"
    if (strcmp(finding, "ok")) refuse(finding);
  }
  if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB) refuse(sqlite3_errmsg(db));
  if (rc != SQLITE_ROW && rc != SQLITE_ERROR) fail(sqlite3_errmsg(db));
  return 0;
}

// An interpreter has as few as 2,000 frames.
static void limit(void) {
  sqlite3_limit(db, SQLITE_LIMIT_EXPR_DEPTH, 200);
  sqlite3_limit(db, SQLITE_LIMIT_COMPOUND_SELECT, 100);
}

// Parsing without a database: each statement is compiled on an empty one of its
// own. Nothing is run.

static const char *denied; // why a statement can never run

static int authorize(void *v, int action, const char *a, const char *b, const char *c, const char *d) {
  if (action == SQLITE_TRANSACTION) denied = "the SQL runs in one transaction already: leave BEGIN, COMMIT and ROLLBACK out";
  if (action == SQLITE_ATTACH) denied = "there is no other database to attach";
  return denied ? SQLITE_DENY : SQLITE_OK;
}

static int starts(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

// certain says whether a message is true of any database. Beside stubs, what it
// says of tables and columns is not.
static int certain(const char *message, int stubs) {
  static const char *const words[] = {
      "incomplete input", "unrecognized token", "no such function", "Expression tree is too large", "too many terms"};
  if (denied || strstr(message, "syntax error") || strstr(message, "wrong number of arguments to function")) return 1;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (starts(message, words[i])) return 1;
  }
  return !stubs && !starts(message, "no such table") && !starts(message, "no such index") &&
         !starts(message, "no such view") && !starts(message, "no such trigger") &&
         !starts(message, "unable to identify the object");
}

// stub makes the table that a message misses: the parser may have stopped in the
// middle of the statement for the want of it.
static int stub(const char *message) {
  static const char *const before[] = {"no such table: main.", "no such table: temp.", "no such table: "};
  for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
    if (!starts(message, before[i])) continue;
    char *sql = sqlite3_mprintf("CREATE TABLE \"%w\" (stub)", message + strlen(before[i]));
    int rc = sql ? sqlite3_exec(db, sql, 0, 0, 0) : SQLITE_NOMEM;
    sqlite3_free(sql);
    return rc == SQLITE_OK;
  }
  return 0;
}

// word returns where the first word of SQL begins, behind space and comments.
static const char *word(const char *sql) {
  for (;;) {
    const char *end = 0;
    if (*sql && strchr(" \t\n\f\r", *sql)) end = sql + 1;
    if (starts(sql, "--") && !(end = strchr(sql, '\n'))) end = sql + strlen(sql);
    if (starts(sql, "/*")) end = (end = strstr(sql + 2, "*/")) ? end + 2 : sql + strlen(sql);
    if (!end) return sql;
    sql = end;
  }
}

// end_of returns where a statement ends, which may have others in it.
static const char *end_of(char *sql) {
  for (char *at = sql; (at = strchr(at, ';')); at++) {
    char next = at[1];
    at[1] = 0;
    int whole = sqlite3_complete(sql);
    at[1] = next;
    if (whole) return at + 1;
  }
  return sql + strlen(sql);
}

// parse_one returns where the next statement begins, or where this one is wrong
// and why.
static const char *parse_one(char *sql, const char **reason) {
  const char *tail = 0, *end = end_of(sql);
  must(sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, 0));
  limit();
  for (int stubs = 0;; stubs++) {
    sqlite3_stmt *compiled = 0;
    denied = 0;
    sqlite3_set_authorizer(db, authorize, 0);
    int rc = sqlite3_prepare_v2(db, sql, end - sql, &compiled, &tail);
    sqlite3_set_authorizer(db, 0, 0);
    sqlite3_finalize(compiled);
    if (rc == SQLITE_NOMEM) fail(NO_MEMORY);
    if (rc == SQLITE_OK) break;
    char *message = sqlite3_mprintf("%s", denied ? denied : sqlite3_errmsg(db));
    if (!message) fail(NO_MEMORY);
    int at = sqlite3_error_offset(db);
    if (certain(message, stubs)) return *reason = message, at < 0 || at > end - sql ? word(sql) : sql + at;
    tail = end;
    if (stubs == 64 || !stub(message)) break;
    sqlite3_free(message);
  }
  if (!sqlite3_strnicmp(word(sql), "VACUUM", 6)) return *reason = "cannot VACUUM from within a transaction", word(sql);
  sqlite3_close(db);
  db = 0;
  return tail > sql ? tail : end;
}

static int parse(char *sql) {
  const char *reason = 0, *at = sql;
  must(sqlite3_initialize());
  while (!reason && *at) at = parse_one((char *)at, &reason);
  if (!reason) return 0;
  int line = 1;
  for (const char *c = sql; c < at; c++) line += *c == '\n';
  char *place = sqlite3_mprintf("line %d: ", line);
  end(2, place ? place : "", reason);
  return 2;
}

int main(int argc, char **argv) {
  if (argc > 0 && !strcmp(argv[0], "check")) return check_in_place();
  char *sql = getenv("PARAM_SQL");
  if (!sql || !*sql) fail("the param sql is missing");
  if (argc > 0 && !strcmp(argv[0], "parse")) return parse(sql);
  read_state(argc > 3 ? argv[3] : "the state");
  unsigned char log[2] = {chunks[0][VERSIONS], chunks[0][VERSIONS + 1]};
  chunks[0][VERSIONS] = chunks[0][VERSIONS + 1] = 1;
  open_state(SQLITE_OPEN_READWRITE);
  limit();
  run("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE");
  run(sql);
  check_keys();
  run("COMMIT");
  chunks[0][VERSIONS] = log[0], chunks[0][VERSIONS + 1] = log[1];
  write_state();
  return 0;
}
