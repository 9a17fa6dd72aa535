#!/usr/bin/env bash
# Compares bin/eventbus with Node's Socket.IO in CPU and memory. Usage: run.sh [fanout|rooms|echo|idle|cluster|cluster-full|herd]...
# README.md says what is measured and what the variables below do. Only loopback is used, and only processes
# started here are ended, by their ids.
set -euo pipefail
tmp=$(realpath -m "${BENCH_TMP:-${TMPDIR:-/tmp}/eventbus-bench-$(id -u)}")
cd "$(dirname "$0")"

root=$(cd ../.. && pwd)
runs=${RUNS:-3}
core=() # of the server, and of all else; empty means any
secret=$(head -c 32 /dev/urandom | base64)
redis_pid='' loadgen_pid='' redis_port='' admin_port='' failed=0
server_pids=() server_ports=() # of all replicas
declare -A connections=([fanout]=1000 [rooms]=5000 [echo]=500 [idle]=10000 [cluster]=1000 [cluster-full]=1000 [herd]=5000)
declare -A rates=([cluster]=500 [herd]=200)
declare -A replicas=([cluster]=3 [cluster-full]=3 [herd]=2)
read -ra extra <<<"${ARGS:-}"

die() {
	echo "bench: $*" >&2
	exit 2
}

stop() { # PID
	kill "$1" 2>/dev/null || true
	for _ in {1..100}; do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

stop_all() {
	local pid
	for pid in $loadgen_pid "${server_pids[@]}" $redis_pid; do
		stop "$pid"
	done
	loadgen_pid='' server_pids=() server_ports=() redis_pid=''
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() { # prints one below those that outgoing connections take
	local port
	for _ in {1..50}; do
		port=$((20000 + RANDOM % 10000))
		listening "$port" || {
			echo "$port"
			return
		}
	done
	die "no free port found from 20000 to 29999"
}

came_up() { # PID PORT: waits up to a minute, as a busy machine may need it
	local i
	for ((i = 0; i < 600; i++)); do
		kill -0 "$1" 2>/dev/null || return 1
		listening "$2" && return
		sleep 0.1
	done
	return 1
}

# start PLACE COMMAND...: starts it in the background as the one process $!; a shell around it would take the signals
# that are meant for it.
start() {
	local place=$1
	shift
	[ ${#core[@]} = 0 ] || set -- taskset -c "${core[place]}" "$@"
	"$@" &
}

prepare() {
	[ "$(uname -s)" = Linux ] || die "the load generator needs Linux (epoll, /proc)"
	local program
	for program in go node npm redis-server; do
		command -v "$program" >/dev/null || die "$program is missing"
	done
	mkdir -p "$tmp/log" "$tmp/results" "$tmp/node-ws"
	[ -O "$tmp" ] || die "$tmp belongs to somebody else: set BENCH_TMP"

	[ -x "$root/bin/eventbus" ] || make -C "$root" build >&2
	go build -o "$tmp/loadgen" ./loadgen
	if ! cmp -s node-ws/package-lock.json "$tmp/node-ws/.installed"; then
		cp node-ws/package.json node-ws/package-lock.json "$tmp/node-ws"
		(cd "$tmp/node-ws" && npm ci --no-audit --no-fund --loglevel=error) >&2
		cp node-ws/package-lock.json "$tmp/node-ws/.installed"
	fi
	cp node-ws/server.js "$tmp/node-ws"

	if [ "${PIN:-1}" = 1 ]; then
		if taskset -c 0 true 2>/dev/null && taskset -c 1 true 2>/dev/null; then
			core=(0 1)
		else
			echo "bench: cores 0 and 1 cannot be had: nothing is pinned" >&2
		fi
	fi
}

# A connection is a descriptor in the load generator and one in the server.
check_descriptors() { # SCENARIO...
	ulimit -n "$(ulimit -Hn)"
	local limit scenario n
	limit=$(ulimit -n)
	[ "$limit" != unlimited ] || return 0
	for scenario in "$@"; do
		n=${N:-${connections[$scenario]}}
		((n + 200 <= limit)) ||
			die "$scenario: $n connections need $((n + 200)) file descriptors and the limit is $limit:" \
				"raise it (ulimit -Hn) or set N=$((limit - 200)) or less"
	done
}

start_redis() {
	redis_port=$(free_port)
	start 1 redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no \
		--dir "$tmp" --client-output-buffer-limit 'pubsub 0 0 0' >"$tmp/log/redis.log" 2>&1
	redis_pid=$!
	came_up "$redis_pid" "$redis_port" || die "redis-server did not come up, see $tmp/log/redis.log"
}

# start_server NAME REPLICA OF: appends to server_pids and server_ports
start_server() {
	local port
	port=$(free_port)
	admin_port=$(free_port)
	local environment=(WEBSOCKET_PORT="$port" BENCH_ADMIN_PORT="$admin_port"
		REDIS_HOST=127.0.0.1 REDIS_PORT="$redis_port" JWT_SECRET="$secret")
	local own=(env -i PATH="$PATH" "${environment[@]}") # your own settings must not point the service elsewhere
	local command
	case $1 in
	ours*) command=("${own[@]}" "$root/bin/eventbus" serve --websocket-host 127.0.0.1
		--health-host 127.0.0.1 --health-port 0 --log-level error --rate-limit=false) ;;
	node-ws)
		[ "$3" = 1 ] || own+=(BENCH_STREAMS=1)
		[ "$2" = 1 ] || own+=(BENCH_NO_INPUT=1) # one takes the input for all
		command=("${own[@]}" NODE_ENV=production node --expose-gc "$tmp/node-ws/server.js")
		;;
	*) command=(env "${environment[@]}" bash -c "exec $SERVER_CMD") ;;
	esac
	start 0 "${command[@]}" >>"$tmp/log/$1.log" 2>&1
	server_pids+=($!)
	server_ports+=("$port")
	came_up $! "$port"
}

start_servers() { # NAME COUNT
	local i
	: >"$tmp/log/$1.log"
	for ((i = 1; i <= $2; i++)); do
		start_server "$1" "$i" "$2" || return 1
	done
	[ ${#server_pids[@]} = "$2" ] || die "${#server_pids[@]} of $1 run and not $2"
}

commas() { # VALUE...
	local IFS=,
	echo "$*"
}

measure() { # SCENARIO SERVER: appends one line to the scenario's results
	local freemem='' options=()
	case $2 in
	ours | ours-1) ;;
	ours-durable) options=(-durable) ;;
	node-ws) freemem=http://127.0.0.1:$admin_port/ ;;
	*) freemem=${SERVER_FREEMEM:-} freemem=${freemem//%ADMIN%/$admin_port} ;;
	esac
	JWT_SECRET=$secret start 1 "$tmp/loadgen" -scenario "$1" -server "$2" -pid "$(commas "${server_pids[@]}")" -port "$(commas "${server_ports[@]}")" \
		-redis "$redis_port" -redis-pid "$redis_pid" -freemem "$freemem" -n "${N:-${connections[$1]}}" -rate "${RATE:-${rates[$1]:-0}}" \
		-dur "${DUR:-8s}" "${options[@]}" "${extra[@]}" >>"$tmp/results/$1.jsonl"
	loadgen_pid=$!
	wait "$loadgen_pid" || return 1 # unlike a command in the foreground, it lets an interrupt through at once
	loadgen_pid=''
}

once() { # SCENARIO SERVER
	echo "bench: $1 $2" >&2
	start_redis # a fresh one each time: what one server left must not burden the next
	local count=${replicas[$1]:-1}
	[ "$2" != ours-1 ] || count=1
	if ! start_servers "$2" "$count"; then
		echo "bench: $2 did not come up:" >&2
		tail -n 5 "$tmp/log/$2.log" >&2
		failed=1
	elif ! measure "$1" "$2"; then
		echo "bench: $1 $2 could not be measured; its log ends:" >&2
		tail -n 5 "$tmp/log/$2.log" >&2
		failed=1
	fi
	stop_all
}

servers_of() { # SCENARIO: prints those that take part
	case $1 in
	cluster) echo ours ours-1 ours-durable node-ws ;;
	cluster-full) echo ours ours-1 node-ws ;;
	herd) echo ours node-ws ;;
	*) echo ours node-ws ${SERVER_CMD:+"$CUSTOM_NAME"} ;;
	esac
}

scenarios=("$@")
[ $# -gt 0 ] || scenarios=(fanout rooms echo idle cluster herd)
for scenario in "${scenarios[@]}"; do
	[ -n "${connections[$scenario]:-}" ] || die "unknown scenario $scenario: want fanout, rooms, echo, idle, cluster, cluster-full or herd"
done
if [ -n "${SERVER_CMD:-}" ]; then
	case ${CUSTOM_NAME:=custom} in ours* | node-ws) die "CUSTOM_NAME: $CUSTOM_NAME is taken" ;; esac
fi
check_descriptors "${scenarios[@]}"
prepare

results=()
for scenario in "${scenarios[@]}"; do
	file=$tmp/results/$scenario.jsonl
	: >"$file"
	for ((run = 0; run < runs; run++)); do
		for server in $(servers_of "$scenario"); do
			once "$scenario" "$server"
		done
	done
	[ ! -s "$file" ] || {
		results+=("$file")
		"$tmp/loadgen" table "$file"
	}
done
[ ${#results[@]} -gt 0 ] || die "nothing could be measured"
"$tmp/loadgen" summary "${results[@]}" || failed=1
echo "bench: results and logs are in $tmp" >&2
exit "$failed"
