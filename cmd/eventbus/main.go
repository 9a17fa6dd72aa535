// Command eventbus runs the Event Bus Service and the tools around it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `Usage: eventbus COMMAND [FLAGS]

Commands:
  serve          run the service; --dev needs nothing else
  publish        publish events to Redis
  tail           print what a browser would receive
  token          make a token for development
  dlq            show dead letters, and have them delivered again
  check-config   report everything that is wrong with a configuration
  healthcheck    ask the service on this machine whether it lives

eventbus COMMAND --help lists a command's flags. Settings, like how to reach Redis, can be in the environment too:
--redis-url is REDIS_URL there.
`

// command runs until ctx ends or its work is done.
type command func(ctx context.Context, args []string, std stdio) error

type stdio struct {
	in       io.Reader
	out, err io.Writer
}

var commands = map[string]command{
	"serve": serve, "publish": publish, "tail": tail, "token": token, "dlq": deadLetters, "check-config": checkConfig,
	"healthcheck": healthcheck,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run is main without the process: the exit code is 0, 1 for a failure, or 2 for a wrong command line.
func run(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(std.out, usage)
		return 0
	}
	cmd, ok := commands[args[0]]
	if !ok {
		fmt.Fprintf(std.err, "eventbus: unknown command %q\n\n%s", args[0], usage)
		return 2
	}
	err := cmd(ctx, args[1:], std)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintf(std.err, "eventbus %s: %v\n", args[0], err)
		return 2
	}
	fmt.Fprintf(std.err, "eventbus %s: %v\n", args[0], err)
	return 1
}

// usageError is a command line or environment that cannot be.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
