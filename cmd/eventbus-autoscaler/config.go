package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/photo-management/event-bus/scaling"
)

// serviceAccount is where Kubernetes mounts what a pod needs to talk to it.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// config is all that the autoscaler can be told, by flags and environment.
type config struct {
	kubernetes kubernetesConfig
	metrics    metricsConfig
	limits     scaling.Limits
	damping    scaling.Damping

	interval   time.Duration // between evaluations
	wait, poll time.Duration // for the Deployment to reach a new count, and between looks
	dryRun     bool
	listen     string // host:port of health and metrics; empty: none
	logLevel   zapcore.Level
}

// kubernetesConfig is how to reach the API, and the Deployment there.
type kubernetesConfig struct {
	url                   string
	caFile, tokenFile     string
	namespace, deployment string
}

// metricsConfig is how to reach the replicas' metrics, and what a replica may use at most.
type metricsConfig struct {
	urls        []string
	caFile      string
	cpuLimit    quantity // cores
	memoryLimit quantity // bytes
}

// readConfig reads flags and environment, and what Kubernetes tells a pod. It reports all problems at once.
func readConfig(args []string, out io.Writer) (config, error) {
	cfg := config{logLevel: zapcore.InfoLevel}
	if err := parseFlags(cfg.flags(out), args); err != nil {
		return config{}, err
	}
	if cfg.kubernetes.url == "" {
		if host := os.Getenv("KUBERNETES_SERVICE_HOST"); host != "" {
			cfg.kubernetes.url = "https://" + net.JoinHostPort(host, os.Getenv("KUBERNETES_SERVICE_PORT"))
		}
	}
	if cfg.kubernetes.namespace == "" {
		namespace, err := readSmall(serviceAccount + "namespace")
		if err == nil {
			cfg.kubernetes.namespace = string(namespace)
		}
	}
	if err := cfg.validate(); err != nil {
		return config{}, usageError{err}
	}
	return cfg, nil
}

func (c *config) validate() error {
	errs := []error{c.kubernetes.validate(), c.limits.Validate(), c.damping.Validate()}
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.metrics.urls) == 0 {
		wrong("metrics-url is not set: want the address of the replicas' metrics, such as %s", defaultMetricsURL)
	}
	for _, u := range c.metrics.urls {
		if err := checkURL(u, "http", "https"); err != nil {
			wrong("metrics-url %w: want such as %s", err, defaultMetricsURL)
		}
	}
	if c.limits.ScaleUp.CPU >= 0 && c.metrics.cpuLimit == 0 {
		wrong("cpu-limit is not set: want the CPU limit of a replica, such as 500m, or scale-up-cpu=-1 to leave CPU out")
	}
	if c.limits.ScaleUp.Memory >= 0 && c.metrics.memoryLimit == 0 {
		wrong("memory-limit is not set: want the memory limit of a replica, such as 512Mi, or scale-up-memory=-1 to leave memory out")
	}
	if c.interval < time.Second || c.interval > time.Hour {
		wrong("interval is %s: want 1s to 1h", c.interval)
	}
	if c.poll < time.Second || c.poll > time.Minute {
		wrong("poll is %s: want 1s to 1m", c.poll)
	}
	if c.wait < c.poll || c.wait > time.Hour {
		wrong("wait is %s: want poll (%s) to 1h", c.wait, c.poll)
	}
	if c.listen != "" {
		if _, _, err := net.SplitHostPort(c.listen); err != nil {
			wrong("listen is %q: want host:port, such as :8080, or nothing", c.listen)
		}
	}
	return errors.Join(errs...)
}

func (k kubernetesConfig) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if k.url == "" {
		wrong("kubernetes-url is not set, and neither is KUBERNETES_SERVICE_HOST, as it would be in a pod: want such as https://kubernetes.default.svc")
	} else if err := checkURL(k.url, "https"); err != nil { // a token goes there
		wrong("kubernetes-url %w: want such as https://kubernetes.default.svc", err)
	}
	for _, name := range []struct{ flag, value string }{{"namespace", k.namespace}, {"deployment", k.deployment}} {
		if !isName(name.value) {
			wrong("%s is %q: want the name of one in Kubernetes", name.flag, name.value)
		}
	}
	return errors.Join(errs...)
}

// isName tells whether s could be the name of an object in Kubernetes: so it cannot lead a path astray.
func isName(s string) bool {
	return s != "" && len(s) <= 253 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && s[0] != '.' && s[0] != '-'
}

// checkURL does not repeat what it refuses, which may have a password in it.
func checkURL(s string, schemes ...string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return errors.New("is not an address")
	case u.User != nil:
		return errors.New("has a user in it")
	case u.Fragment != "":
		return errors.New("has a fragment")
	}
	if !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("is not %s", strings.Join(schemes, " or "))
	}
	return nil
}
