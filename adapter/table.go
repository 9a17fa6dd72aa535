package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrTableFull says that a table has all the rows it may have.
	ErrTableFull = errors.New("the table is full")
	// ErrRow says that an id or a value is too long for a table.
	ErrRow = errors.New("not fit for a row")
	// ErrExists says that there is such a row already.
	ErrExists = errors.New("the id is taken")
)

// TableConfig names a table and bounds it.
type TableConfig struct {
	// Name is the table's among those beside one log.
	Name string
	// MaxEntries is how many rows there may be. Zero means 1,000.
	MaxEntries int
	// MaxBytes is the size of the largest value. Zero means 64 KiB.
	MaxBytes int
}

func (c TableConfig) withDefaults() TableConfig {
	c.MaxEntries = cmp.Or(c.MaxEntries, 1000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 64<<10)
	return c
}

// Row is a value in a table.
type Row struct {
	ID      string
	Seq     int64 // the order in which rows came to be
	Value   []byte
	Expires time.Time // to the millisecond, by the clocks of the replicas. Zero means never
}

// Table is a small named table in Redis that all replicas have the same view of: filters, rules, subscriptions. Each
// change gives it a new version, by which WatchTables sees that there was one.
type Table struct {
	cfg                 TableConfig
	db                  *Redis
	rows, version, ends string                        // keys: a hash of rows by id, its version, and a sorted set of ids by when they expire
	watcher             atomic.Pointer[chan struct{}] // WatchTables hears there of changes made through this Table
}

// Table gives a table kept beside a log.
func (s *Store) Table(cfg TableConfig) *Table {
	key := s.Key("table:" + cfg.Name)
	return &Table{cfg: cfg.withDefaults(), db: s.db, rows: key, version: key + ":version", ends: key + ":ends"}
}

// tableScript is what the scripts that change tables begin with. KEYS: rows, version, ends. ARGV: the time in ms, the
// number of rows there may be.
//
// A row is kept as its Seq, the time it expires in ms or 0, and its value, parted by spaces. Versions and Seqs are one
// count, of the time in µs: so no version comes again, although Redis may have lost all, or the last of them, and two
// changes after that are not taken for those that were lost.
const tableScript = `
local function count(n)
	local time, last = redis.call('TIME'), tonumber(redis.call('GET', KEYS[2]) or '0')
	local version = math.max(time[1] * 1000000 + time[2], last + n)
	redis.call('SET', KEYS[2], string.format('%.0f', version))
	return version
end
local function expired()
	local dead = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1], 'LIMIT', 0, 1000)
	for _, id in ipairs(dead) do
		redis.call('HDEL', KEYS[1], id)
		redis.call('ZREM', KEYS[3], id)
	end
	if #dead > 0 then
		count(1)
	end
end
local function put(id, seq, expires, value)
	redis.call('HSET', KEYS[1], id, string.format('%.0f', seq) .. ' ' .. expires .. ' ' .. value)
	if expires == '0' then
		redis.call('ZREM', KEYS[3], id)
	else
		redis.call('ZADD', KEYS[3], expires, id)
	end
end
`

// putRow puts a row, and gives an empty text, 'exists' or 'full'. ARGV goes on: id, time it expires in ms or 0, value, and '1' if
// there must be none.
var putRow = redis.NewScript(tableScript + `
expired()
local row = redis.call('HGET', KEYS[1], ARGV[3])
if row and ARGV[6] == '1' then
	return 'exists'
end
if not row and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[2]) then
	return 'full'
end
local version = count(1)
local seq = row and tonumber(string.match(row, '^%d+')) or version
put(ARGV[3], seq, ARGV[4], ARGV[5])
return ''
`)

// deleteRow deletes a row, and says whether there was one. ARGV goes on: id.
var deleteRow = redis.NewScript(tableScript + `
expired()
redis.call('ZREM', KEYS[3], ARGV[3])
if redis.call('HDEL', KEYS[1], ARGV[3]) == 0 then
	return 0
end
count(1)
return 1
`)

// replaceRows puts other rows in the place of all. ARGV goes on: of each row id, time it expires in ms or 0, value.
var replaceRows = redis.NewScript(tableScript + `
redis.call('DEL', KEYS[1], KEYS[3])
local n = (#ARGV - 2) / 3
local seq = count(n + 1) - n
for i = 3, #ARGV, 3 do
	put(ARGV[i], seq, ARGV[i + 1], ARGV[i + 2])
	seq = seq + 1
end
return n
`)

func (t *Table) keys() []string { return []string{t.rows, t.version, t.ends} }

func (t *Table) check(id string, value []byte) error {
	err := checkID("id", id)
	if len(value) > t.cfg.MaxBytes {
		err = errors.Join(err, fmt.Errorf("value of %d bytes: must have %d or fewer", len(value), t.cfg.MaxBytes))
	}
	if err != nil {
		return fmt.Errorf("table %s: %w: %w", t.cfg.Name, ErrRow, err)
	}
	return nil
}

func (t *Table) explain(what string, err error) error {
	return fmt.Errorf("%s the table %s: %w", what, t.cfg.Name, t.db.explain(err))
}

// millis is a time as the scripts have it.
func millis(expires time.Time) int64 {
	if expires.IsZero() {
		return 0
	}
	return max(expires.UnixMilli(), 1)
}

func (t *Table) put(ctx context.Context, id string, value []byte, expires time.Time, fresh string) error {
	if err := t.check(id, value); err != nil {
		return err
	}
	answer, err := putRow.Run(ctx, t.db.client, t.keys(),
		time.Now().UnixMilli(), t.cfg.MaxEntries, id, millis(expires), value, fresh).Text()
	switch {
	case err != nil:
		return t.explain("write to", err)
	case answer == "exists":
		return ErrExists
	case answer == "full":
		return fmt.Errorf("table %s of %d rows: %w", t.cfg.Name, t.cfg.MaxEntries, ErrTableFull)
	}
	t.tellWatcher()
	return nil
}

// tellWatcher has WatchTables look at once, if it watches this Table.
func (t *Table) tellWatcher() {
	w := t.watcher.Load()
	if w == nil {
		return
	}
	select {
	case *w <- struct{}{}:
	default: // it will look anyway
	}
}

// Put writes a row, which keeps its place if there is one of that id. It returns ErrTableFull if there is no room for
// another.
func (t *Table) Put(ctx context.Context, id string, value []byte, expires time.Time) error {
	return t.put(ctx, id, value, expires, "")
}

// Insert writes a row that there is not, else it returns ErrExists; or ErrTableFull.
func (t *Table) Insert(ctx context.Context, id string, value []byte) error {
	return t.put(ctx, id, value, time.Time{}, "1")
}

// Delete deletes a row, and reports whether there was one.
func (t *Table) Delete(ctx context.Context, id string) (bool, error) {
	n, err := deleteRow.Run(ctx, t.db.client, t.keys(), time.Now().UnixMilli(), t.cfg.MaxEntries, id).Int()
	if err != nil {
		return false, t.explain("delete from", err)
	}
	t.tellWatcher()
	return n == 1, nil
}

// Replace puts rows in the place of all there are, in one step. Their order is as given; their Seq does not count. Ids
// must differ.
func (t *Table) Replace(ctx context.Context, rows []Row) error {
	if len(rows) > t.cfg.MaxEntries {
		return fmt.Errorf("table %s of %d rows, %d given: %w", t.cfg.Name, t.cfg.MaxEntries, len(rows), ErrTableFull)
	}
	args, ids := []any{time.Now().UnixMilli(), t.cfg.MaxEntries}, map[string]bool{}
	for _, r := range rows {
		if err := t.check(r.ID, r.Value); err != nil {
			return err
		}
		if ids[r.ID] {
			return fmt.Errorf("table %s: id %q twice: %w", t.cfg.Name, r.ID, ErrExists)
		}
		ids[r.ID] = true
		args = append(args, r.ID, millis(r.Expires), r.Value)
	}
	if err := replaceRows.Run(ctx, t.db.client, t.keys(), args...).Err(); err != nil {
		return t.explain("replace", err)
	}
	t.tellWatcher()
	return nil
}

// Rows are those that have not expired, by Seq.
func (t *Table) Rows(ctx context.Context) ([]Row, error) {
	rows, err := t.all(ctx)
	if err != nil {
		return nil, err
	}
	return current(rows, time.Now()), nil
}

// all are the rows there are, expired or not, by Seq. What is no row is left out.
func (t *Table) all(ctx context.Context) ([]Row, error) {
	found, err := t.db.client.HGetAll(ctx, t.rows).Result()
	if err != nil {
		return nil, t.explain("read", err)
	}
	rows := make([]Row, 0, len(found))
	for id, text := range found {
		seq, rest, _ := strings.Cut(text, " ")
		expires, value, ok := strings.Cut(rest, " ")
		n, err1 := strconv.ParseInt(seq, 10, 64)
		ms, err2 := strconv.ParseInt(expires, 10, 64)
		if !ok || err1 != nil || err2 != nil || len(value) > t.cfg.MaxBytes {
			continue
		}
		r := Row{ID: id, Seq: n, Value: []byte(value)}
		if ms > 0 {
			r.Expires = time.UnixMilli(ms)
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), strings.Compare(a.ID, b.ID)) })
	return rows, nil
}

// current reports whether a row has not expired.
func (r Row) current(now time.Time) bool { return r.Expires.IsZero() || r.Expires.After(now) }

// current are the rows that have not expired.
func current(rows []Row, now time.Time) []Row {
	left := make([]Row, 0, len(rows))
	for _, r := range rows {
		if r.current(now) {
			left = append(left, r)
		}
	}
	return left
}
