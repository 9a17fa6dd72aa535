package adapter

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// sessionRead is what the scripts begin with: the value of a session and its owner, empty if there is none, cut off if
// it is too long, and senseless if it is no string at all; and what the owner is if the value is as we stored it.
var sessionRead = `
local function read(key)
	local v = redis.pcall('GETRANGE', key, 0, ` + strconv.Itoa(maxSession) + `)
	return type(v) == 'table' and '?' or v
end
local function signed(id, value)
	return id .. ':' .. redis.sha1hex(value)
end
local value, owner = read(KEYS[1]), read(KEYS[2])
`

var (
	// keepSession writes a session (server id, milliseconds to live, value) or, without a value, renews it. It answers
	// 1; or 0 if there was nothing to renew; or -1 if it is not that server's any more, but another one's, or Node's.
	keepSession = redis.NewScript(sessionRead + `
if value == '' and owner == '' then
	if not ARGV[3] then
		return 0
	end
elseif value == '' or owner ~= signed(ARGV[1], value) then
	return -1
end
if ARGV[3] then
	redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
	redis.call('SET', KEYS[2], signed(ARGV[1], ARGV[3]), 'PX', ARGV[2])
else
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
	redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return 1
`)

	// dropSession deletes a session of a server (its id).
	dropSession = redis.NewScript(sessionRead + `
if value ~= '' and owner == signed(ARGV[1], value) then
	redis.call('DEL', KEYS[1], KEYS[2])
end
return 1
`)

	// takeSession makes a session a server's (its id, milliseconds to live, channel to tell the previous owner on,
	// pid). It answers the value, empty if there is none, and who had it. Where that is Node, because the value is not
	// what its owner stored, the owner may not know yet, and is told all the same.
	takeSession = redis.NewScript(sessionRead + `
if value == '' or value == '?' or #value > ` + strconv.Itoa(maxSession) + ` then
	return {value, ''}
end
local from = string.sub(owner, 1, -42)
if from ~= '' and from ~= ARGV[1] then
	redis.pcall('PUBLISH', ARGV[3] .. from, ARGV[4])
end
if owner ~= signed(from, value) then
	from = ''
end
redis.call('SET', KEYS[2], signed(ARGV[1], value), 'PX', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {value, from}
`)
)

// sessionCall is one command for Redis, and its answer.
type sessionCall struct {
	script *redis.Script // nil: only show the value
	pid    string
	args   []any
	answer any
	err    error
}

// send asks for all calls in one pipeline, twice if Redis has lost the scripts, which changes nothing for those
// that it knew. It returns the first error; each call has its own.
func (s *Sessions) send(ctx context.Context, calls []*sessionCall) error {
	for first := true; ; first = false {
		lost := s.pipeline(ctx, calls)
		if !lost || !first {
			break
		}
		for _, script := range []*redis.Script{keepSession, dropSession, takeSession} {
			if script.Load(ctx, s.client).Err() != nil {
				break // as the second attempt will show
			}
		}
	}
	for _, c := range calls {
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

var errUnanswered = errors.New("redis did not answer")

// pipeline reports whether a script was unknown.
func (s *Sessions) pipeline(ctx context.Context, calls []*sessionCall) (lost bool) {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.Cmd, len(calls))
	for i, c := range calls {
		keys := s.keys(c.pid)
		if c.script == nil {
			cmds[i] = pipe.Do(ctx, "GETRANGE", keys[0], 0, maxSession)
		} else {
			cmds[i] = pipe.EvalSha(ctx, c.script.Hash(), keys, c.args...)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, c := range calls {
		c.answer, c.err = cmds[i].Result()
		if c.err == nil && c.answer == nil {
			c.err = errUnanswered
		}
		lost = lost || redis.HasErrorPrefix(c.err, "NOSCRIPT")
	}
	return lost
}
