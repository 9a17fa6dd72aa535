package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const defaultMetricsURL = "http://event-bus-replicas:3004/metrics"

const synopsis = `Usage: eventbus-autoscaler [FLAGS]

Keeps the number of replicas of the Event Bus Service in step with its load, in a cluster where neither an HPA nor KEDA
does. Every flag can be in the environment too: --dry-run is AUTOSCALER_DRY_RUN there. Flags win.

Flags:
`

// flags are those of the command; they set c.
func (c *config) flags(out io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("eventbus-autoscaler", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run tells what is wrong, once
	fs.Usage = func() {
		fmt.Fprint(out, synopsis)
		fs.SetOutput(out)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	k, m, up, down := &c.kubernetes, &c.metrics, &c.limits.ScaleUp, &c.limits.ScaleDown
	fs.StringVar(&k.deployment, "deployment", "event-bus-service", "the Deployment to scale")
	fs.StringVar(&k.namespace, "namespace", "", "its namespace; by default the pod's own")
	fs.StringVar(&k.url, "kubernetes-url", "", "address of the API of Kubernetes; by default the one that the pod is told")
	fs.StringVar(&k.caFile, "kubernetes-ca-file", serviceAccount+"ca.crt", "PEM file of the authorities that vouch for it")
	fs.StringVar(&k.tokenFile, "kubernetes-token-file", serviceAccount+"token", "file of our token for it, read anew for each request")

	m.urls = []string{defaultMetricsURL}
	fs.Var((*list)(&m.urls), "metrics-url", "comma-separated addresses of the replicas' metrics; each stands for all that its host's name resolves to, as that of a headless Service does")
	fs.StringVar(&m.caFile, "metrics-ca-file", "", "PEM file of the authorities that vouch for the replicas, if metrics-url is https; by default those of the system")
	fs.Var(&m.cpuLimit, "cpu-limit", "CPU limit of a replica, such as 500m: what its CPU is told in percent of")
	fs.Var(&m.memoryLimit, "memory-limit", "memory limit of a replica, such as 512Mi")

	fs.IntVar(&c.limits.MinReplicas, "min-replicas", 2, "replicas there are at least")
	fs.IntVar(&c.limits.MaxReplicas, "max-replicas", 10, "replicas there are at most")
	fs.Float64Var(&up.CPU, "scale-up-cpu", 70, "percent of the CPU limit, on average, above which there is one more; negative leaves CPU out")
	fs.Float64Var(&up.Memory, "scale-up-memory", 80, "the same of the memory limit")
	fs.Float64Var(&up.ConnectionsPerPod, "scale-up-connections-per-pod", 5000, "the same in connections per replica")
	fs.Float64Var(&down.CPU, "scale-down-cpu", 0, "percent of the CPU limit below which, if the others are too, there is one less; by default half of scale-up-cpu")
	fs.Float64Var(&down.Memory, "scale-down-memory", 0, "the same of the memory limit")
	fs.Float64Var(&down.ConnectionsPerPod, "scale-down-connections-per-pod", 0, "the same in connections per replica")
	fs.IntVar(&c.damping.DownAfter, "scale-down-after", 20, "evaluations in a row that have to be for one less")
	fs.DurationVar(&c.damping.UpCooldown, "scale-up-cooldown", time.Minute, "time after a change before there is one more; negative for none")
	fs.DurationVar(&c.damping.DownCooldown, "scale-down-cooldown", 5*time.Minute, "time after a change before there is one less; negative for none")

	fs.DurationVar(&c.interval, "interval", 30*time.Second, "time between evaluations")
	fs.DurationVar(&c.wait, "wait", 5*time.Minute, "time that the Deployment may take to reach a new count, before the next evaluation")
	fs.DurationVar(&c.poll, "poll", 10*time.Second, "time between looks whether it has")
	fs.BoolVar(&c.dryRun, "dry-run", false, "only say what would be done")
	fs.StringVar(&c.listen, "listen", "", "host:port of /health/live and /metrics; by default there are none")
	fs.TextVar(&c.logLevel, "log-level", c.logLevel, "debug, info, warn or error")
	return fs
}

// parseFlags sets flags from the environment, then from args, which win. It reports all that is wrong at once.
func parseFlags(fs *flag.FlagSet, args []string) error {
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		if v, ok := os.LookupEnv(envName(f.Name)); ok && v != "" {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s: invalid value: %w", envName(f.Name), err))
			}
		}
	})
	help := fs.Usage
	fs.Usage = func() {} // on standard output only if asked for
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help()
		return err
	case err != nil:
		errs = append(errs, err)
	case fs.NArg() > 0:
		errs = append(errs, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	if len(errs) > 0 {
		return usageError{errors.Join(errs...)}
	}
	return nil
}

// envName is the environment variable of a flag. It has a prefix, as NAMESPACE or INTERVAL may be somebody else's.
func envName(name string) string {
	return "AUTOSCALER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// list is a flag of values separated by commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(v string) error {
	*l = nil
	for one := range strings.SplitSeq(v, ",") {
		if one = strings.TrimSpace(one); one != "" {
			*l = append(*l, one)
		}
	}
	return nil
}
