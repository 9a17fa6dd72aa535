package adapter

import (
	"strings"
	"sync/atomic"
	"testing"
)

// storeTests is what must hold on every Redis. Each gets one that it shares with others, and a log of its own.
var storeTests = map[string]func(t *testing.T, l *Log){
	"feed":               testFeed,
	"feed gone":          testFeedGone,
	"feed of a record":   testFeedAppend,
	"feed malformed":     testFeedMalformed,
	"feed trim":          testFeedTrim,
	"feed trim bounds":   testFeedTrimBounds,
	"feed bury":          testFeedBury,
	"feed return":        testFeedReturn,
	"feed lag":           testFeedLag,
	"feed ack many":      testFeedAckMany,
	"dead letters":       testDeadLetters,
	"dead letters bound": testDeadLettersBounds,
	"dead letters, many": testDeadLettersAll,
	"dead letters list":  testDeadLettersList,
	"table":              testTable,
	"table watched":      testWatchTables,
	"throttle":           testThrottle,
	"quota":              testQuota,
	"tally":              testTally,
	"history":            testHistory,
	"history lost":       testHistoryOfLostLog,
}

var testLogs atomic.Int64

func TestStore(t *testing.T) {
	t.Parallel()
	run := func(name string, start func(t *testing.T) *Redis) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			for name, test := range storeTests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					stream := strings.Repeat("x", int(testLogs.Add(1))) // some go to one node of a Cluster, some to another
					test(t, openLog(t, r, LogConfig{Stream: stream}))
				})
			}
		})
	}
	run("redis", func(t *testing.T) *Redis {
		// A node for each entry of a stream: trimming is exact, and there are many of them.
		return dialTest(t, "redis://"+startRedis(t, "--stream-node-max-entries", "1").addr)
	})
	run("redis as is", func(t *testing.T) *Redis { return dialTest(t, "redis://"+startRedis(t).addr) })
	run("redis with the rights of Check", func(t *testing.T) *Redis {
		s := startRedis(t)
		command := []any{"ACL", "SETUSER", "app", "on", ">hush-hush", "~x*", "+pttl"} // the logs, and what tests look at
		for _, right := range rights {
			command = append(command, right)
		}
		must(t, plainClient(t, s.addr).Do(t.Context(), command...).Err())
		return dialTest(t, "redis://app:hush-hush@"+s.addr)
	})
	run("embedded", func(t *testing.T) *Redis { return dialTest(t, "redis://"+startEmbedded(t, "").Addr()) })
	run("cluster", func(t *testing.T) *Redis { return dialConfig(t, startCluster(t, false).config()) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
