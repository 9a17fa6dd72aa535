// Command eventbus-autoscaler keeps the number of replicas of the Event Bus Service in step with its load, where neither
// an HPA nor KEDA does: those are the better way, and two owners of one count fight. It asks the replicas for their
// metrics, lets scaling.Decide decide, and sets the scale of the Deployment through the API of Kubernetes.
//
// Only one of it may run for a Deployment: a Deployment of its own with one replica and the strategy Recreate, as in
// deploy/kubernetes/autoscaler.yaml. Should two run for a moment nevertheless, neither can undo what the other has just
// done without having seen it: each change names the version of the scale that it was decided on.
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], stdio{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

type stdio struct{ out, err io.Writer }

// run is main without the process: the exit code is 0, 1 for a failure, or 2 for a wrong command line.
func run(ctx context.Context, args []string, std stdio) int {
	cfg, err := readConfig(args, std.out)
	if err == nil {
		err = serve(ctx, cfg, newLogger(cfg, std.err))
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintf(std.err, "eventbus-autoscaler: %v\n", err)
		return 2
	}
	fmt.Fprintf(std.err, "eventbus-autoscaler: %v\n", err)
	return 1
}

// usageError is a command line or environment that cannot be.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
