//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// usage is what the server and Redis had used at a moment.
type usage struct {
	server, redis *process
	port          int
	at            time.Time
	cpu, redisCPU int64
	calls         map[string]float64
	err           error
}

// used is what they used in a span of time: CPU in microseconds, and calls of Redis's commands.
type used struct {
	took          time.Duration
	server, redis float64
	commands      float64
	calls         map[string]float64 // by command
	err           error
}

func newUsage(server *process, cfg config) usage {
	u := usage{server: server, redis: &process{pids: cfg.broker()}, port: cfg.redis}
	u.calls, u.err = commandCalls(cfg.redis)
	u.at, u.cpu, u.redisCPU = time.Now(), server.cpu(), u.redis.cpu()
	return u
}

// since is what was used since then, without what this asks for itself.
func (u usage) since() used {
	d := used{took: time.Since(u.at), server: float64(u.server.cpu() - u.cpu), redis: float64(u.redis.cpu() - u.redisCPU),
		calls: map[string]float64{}}
	calls, err := commandCalls(u.port)
	d.err = cmp.Or(u.err, err)
	for name, n := range calls {
		if n -= u.calls[name]; n > 0 && name != "info" {
			d.calls[name] = n
			d.commands += n
		}
	}
	return d
}

// broker is the processes of Redis, if its id is known.
func (c config) broker() []int {
	if c.redisPID == 0 {
		return nil
	}
	return []int{c.redisPID}
}

// commandCalls asks Redis how often each command was called, by clients and by scripts.
func commandCalls(port int) (map[string]float64, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), redisLimit)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(redisLimit))
	if _, err := conn.Write([]byte("INFO commandstats\r\n")); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	head, err := in.ReadString('\n') // $ and the length
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(strings.Trim(head, "$\r\n"))
	if err != nil || length < 0 || length > maxFrame {
		return nil, fmt.Errorf("redis answered INFO with %.40q", head)
	}
	stats := make([]byte, length)
	if _, err := io.ReadFull(in, stats); err != nil {
		return nil, err
	}
	return parseCommandStats(stats), nil
}

// parseCommandStats reads lines like "cmdstat_config|get:calls=3,usec=17".
func parseCommandStats(stats []byte) map[string]float64 {
	calls := map[string]float64{}
	for line := range bytes.Lines(stats) {
		name, rest, found := strings.Cut(strings.TrimSpace(string(line)), ":calls=")
		number, _, _ := strings.Cut(rest, ",")
		if n, err := strconv.ParseFloat(number, 64); found && err == nil {
			calls[strings.TrimPrefix(name, "cmdstat_")] = n
		}
	}
	return calls
}
