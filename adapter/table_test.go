package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rowsAre says what rows are there, as id=value.
func rowsAre(rows []Row) string {
	var out []string
	for _, r := range rows {
		out = append(out, r.ID+"="+string(r.Value))
	}
	return strings.Join(out, " ")
}

func tableWant(t *testing.T, table *Table, want string) {
	t.Helper()
	rows, err := table.Rows(t.Context())
	if got := rowsAre(rows); err != nil || got != want {
		t.Errorf("rows are %q, want %q, %v", got, want, err)
	}
	if !slices.IsSortedFunc(rows, func(a, b Row) int { return int(a.Seq - b.Seq) }) {
		t.Errorf("not by Seq: %+v", rows)
	}
}

func testTable(t *testing.T, l *Log) {
	ctx, never := t.Context(), time.Time{}
	table := l.Table(TableConfig{Name: "t", MaxEntries: 3, MaxBytes: 10})
	same := l.redis.Store(l.cfg.Stream).Table(TableConfig{Name: "t"})
	tableWant(t, table, "")
	must(t, table.Put(ctx, "b", []byte(`1 2 {"`), never))
	must(t, table.Insert(ctx, "a", nil))
	if err := table.Insert(ctx, "a", []byte("2")); !errors.Is(err, ErrExists) {
		t.Errorf("Insert is %v", err)
	}
	must(t, table.Put(ctx, "b", []byte("2"), never)) // keeps its place
	must(t, table.Put(ctx, "c", []byte("\x00\xff"), never))
	tableWant(t, same, "b=2 a= c=\x00\xff")
	for _, err := range []error{table.Put(ctx, "d", nil, never), table.Insert(ctx, "d", nil), table.Replace(ctx, make([]Row, 4))} {
		if !errors.Is(err, ErrTableFull) {
			t.Errorf("it is not full: %v", err)
		}
	}
	must(t, table.Put(ctx, "c", []byte("3"), never)) // there is room for what is there
	for _, bad := range []struct {
		id    string
		value string
	}{{"", ""}, {strings.Repeat("x", maxID+1), ""}, {"x", "12345678901"}} {
		if table.Put(ctx, bad.id, []byte(bad.value), never) == nil || table.Insert(ctx, bad.id, []byte(bad.value)) == nil ||
			table.Replace(ctx, []Row{{ID: bad.id, Value: []byte(bad.value)}}) == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	for _, want := range []bool{true, false} {
		if there, err := table.Delete(ctx, "b"); err != nil || there != want {
			t.Errorf("deleted: %v, want %v, %v", there, want, err)
		}
	}
	must(t, table.Put(ctx, "b", []byte("4"), never)) // a new one
	tableWant(t, table, "a= c=3 b=4")

	must(t, table.Replace(ctx, []Row{{ID: "z", Value: []byte("1")}, {ID: "a", Value: []byte("2"), Seq: -5}}))
	tableWant(t, table, "z=1 a=2")
	if err := table.Replace(ctx, []Row{{ID: "z"}, {ID: "z"}}); !errors.Is(err, ErrExists) {
		t.Errorf("Replace is %v", err)
	}
	must(t, table.Put(ctx, "after", []byte("3"), never))
	tableWant(t, table, "z=1 a=2 after=3")
	must(t, table.Replace(ctx, nil))
	tableWant(t, table, "")

	// What has expired is not there, and takes no room.
	var soon time.Time
	for wait := 30 * time.Millisecond; ; wait *= 2 {
		soon = time.Now().Add(wait)
		must(t, table.Replace(ctx, []Row{{ID: "1", Expires: soon}, {ID: "2"}}))
		must(t, table.Put(ctx, "3", nil, soon))
		rows, err := table.Rows(ctx)
		must(t, err)
		if !time.Now().Before(soon) {
			continue // it took too long for that
		}
		if rowsAre(rows) != "1= 2= 3=" || rows[0].Expires.UnixMilli() != soon.UnixMilli() || !rows[1].Expires.IsZero() {
			t.Errorf("rows are %+v", rows)
		}
		break
	}
	eventually(t, "the rows to expire", func() bool { return time.Now().After(soon.Add(time.Millisecond)) })
	tableWant(t, table, "2=")
	must(t, table.Insert(ctx, "1", []byte("x")))
	must(t, table.Put(ctx, "4", nil, time.Now().Add(time.Hour)))
	must(t, table.Put(ctx, "4", nil, never)) // does not expire any more
	tableWant(t, table, "2= 1=x 4=")
	if n := l.redis.client.ZCard(ctx, table.ends).Val(); n != 0 {
		t.Errorf("%d rows are to expire", n)
	}

	// What is no row is passed over.
	must(t, l.redis.client.HSet(ctx, table.rows, "bad", "x", "worse", "1 x y", "large", "1 0 12345678901").Err())
	tableWant(t, table, "2= 1=x 4=")
}

// told collects what a watcher tells.
type told struct {
	mu  sync.Mutex
	all []string
}

func (s *told) tell(rows []Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, rowsAre(rows))
}

func (s *told) want(t *testing.T, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the rows %q", want), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.all) > 0 && s.all[len(s.all)-1] == want
	})
}

func (s *told) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// watch watches until the test ends.
func watch(t *testing.T, r *Redis, every time.Duration, tables map[*Table]func([]Row)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- WatchTables(ctx, r, every, tables) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("WatchTables: %v", err)
		}
	})
}

func testWatchTables(t *testing.T, l *Log) {
	ctx := t.Context()
	var one, two, idle told
	a, b := l.Table(TableConfig{Name: "a"}), l.Table(TableConfig{Name: "b"})
	must(t, a.Put(ctx, "x", []byte("1"), time.Time{}))
	watch(t, l.redis, 10*time.Millisecond, map[*Table]func([]Row){a: one.tell, b: two.tell, l.Table(TableConfig{Name: "idle"}): idle.tell})
	one.want(t, "x=1")
	two.want(t, "")
	must(t, b.Insert(ctx, "y", []byte("2")))
	two.want(t, "y=2")
	must(t, a.Put(ctx, "x", []byte("3"), time.Time{}))
	one.want(t, "x=3")
	must(t, a.Put(ctx, "z", []byte("4"), time.Now().Add(time.Second)))
	one.want(t, "x=3 z=4")
	one.want(t, "x=3") // it has expired
	must(t, a.Replace(ctx, nil))
	one.want(t, "")
	if _, err := b.Delete(ctx, "y"); err != nil {
		t.Error(err)
	}
	two.want(t, "")
	if n := idle.times(); n != 1 {
		t.Errorf("of a table without changes it was told %d times", n)
	}
	must(t, WatchTables(canceled(), l.redis, 0, nil))
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// The watcher keeps what it knows while Redis is away, and sees what Redis has lost or others have written meanwhile.
func TestWatchTablesOutage(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := dialTest(t, "redis://"+s.addr)
	table := r.Store("").Table(TableConfig{Name: "t"})
	must(t, table.Put(t.Context(), "x", []byte("1"), time.Time{}))
	must(t, table.Put(t.Context(), "brief", nil, time.Now().Add(500*time.Millisecond)))
	var got told
	watch(t, r, 10*time.Millisecond, map[*Table]func([]Row){table: got.tell})
	got.want(t, "x=1 brief=")
	s.stop(t)
	got.want(t, "x=1") // time goes on
	version := got.times()
	s.start(t) // empty
	got.want(t, "")
	if got.times() != version+1 {
		t.Error("something else was told")
	}
	eventually(t, "a row to be put", func() bool { return table.Put(t.Context(), "new", []byte("2"), time.Time{}) == nil })
	got.want(t, "new=2")

	// Its version is none there was before, though as many things were done.
	before := r.client.Get(t.Context(), table.version).Val()
	must(t, r.client.FlushAll(t.Context()).Err())
	must(t, table.Put(t.Context(), "newer", []byte("3"), time.Time{}))
	if after := r.client.Get(t.Context(), table.version).Val(); after <= before || len(after) != len(before) {
		t.Errorf("version %s comes after %s", after, before)
	}
	got.want(t, "newer=3")
}

// A change after a loss of the last ones, as of a second of an append-only file, is not taken for one that was lost.
func TestWatchTablesRollback(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), dialTest(t, "redis://"+startRedis(t).addr)
	table := r.Store("").Table(TableConfig{Name: "t"})
	var got told
	all := []*watched{{Table: table, tell: got.tell}}
	put := func(value string) {
		t.Helper()
		must(t, table.Put(ctx, "x", []byte(value), time.Time{}))
	}
	put("1")
	version, row := r.client.Get(ctx, table.version).Val(), r.client.HGet(ctx, table.rows, "x").Val()
	put("2")
	must(t, poll(ctx, r, all))
	got.want(t, "x=2")
	must(t, r.client.Set(ctx, table.version, version, 0).Err())
	must(t, r.client.HSet(ctx, table.rows, "x", row).Err())
	put("3")
	must(t, poll(ctx, r, all))
	got.want(t, "x=3")
}

// Who watches sees all of a Replace or nothing of it, and a table that is none hides no other.
func TestWatchTablesWhole(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), dialTest(t, "redis://"+startRedis(t).addr)
	store := r.Store("")
	table, none := store.Table(TableConfig{Name: "t"}), store.Table(TableConfig{Name: "none"})
	must(t, r.client.RPush(ctx, none.version, "x").Err())
	set := func(value string) []Row {
		rows := make([]Row, 300)
		for i := range rows {
			rows[i] = Row{ID: strconv.Itoa(i), Value: []byte(value)}
		}
		return rows
	}
	must(t, table.Replace(ctx, set("0")))
	var seen atomic.Int64
	watch(t, r, time.Millisecond, map[*Table]func([]Row){table: func(rows []Row) {
		seen.Add(1)
		if len(rows) != 300 || slices.ContainsFunc(rows, func(r Row) bool { return string(r.Value) != string(rows[0].Value) }) {
			t.Errorf("%d rows, parts of two", len(rows))
		}
	}, none: func([]Row) { t.Error("something is told of what is no table") }})
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for i := 0; i < 50 || seen.Load() < 2; i++ {
				if err := table.Replace(ctx, set(strconv.Itoa(i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
}

// A watcher that begins while Redis is away tells what there is when it is back.
func TestWatchTablesBeforeRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := dialTest(t, "redis://"+s.addr)
	table := r.Store("").Table(TableConfig{Name: "t"})
	s.stop(t)
	var got told
	watch(t, r, 10*time.Millisecond, map[*Table]func([]Row){table: got.tell})
	if table.Put(t.Context(), "x", nil, time.Time{}) == nil {
		t.Error("a row was put nowhere")
	}
	if _, err := table.Rows(t.Context()); err == nil {
		t.Error("rows are read from nowhere")
	}
	s.start(t)
	got.want(t, "")
}
