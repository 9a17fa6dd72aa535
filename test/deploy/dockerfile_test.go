package deploy

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func parseDockerfile(warn linter.LintWarnFunc) ([]instructions.Stage, []parser.Warning, error) {
	f, err := os.Open(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	file, err := parser.Parse(f)
	if err != nil {
		return nil, nil, err
	}
	stages, _, err := instructions.Parse(file.AST, linter.New(&linter.Config{Warn: warn}))
	return stages, file.Warnings, err
}

// command finds the one instruction of that type in a stage.
func command[C instructions.Command](t *testing.T, stage instructions.Stage) C {
	t.Helper()
	var found []C
	for _, c := range stage.Commands {
		if one, ok := c.(C); ok {
			found = append(found, one)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the stage has %d %T, want one", len(found), *new(C))
	}
	return found[0]
}

func lastStage(t *testing.T) instructions.Stage {
	t.Helper()
	stages, _, err := parseDockerfile(nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages[len(stages)-1]
}

// healthcheck is the subcommand of the image's health check.
func healthcheck(t *testing.T) []string {
	t.Helper()
	test := command[*instructions.HealthCheckCommand](t, lastStage(t)).Health.Test
	entry := command[*instructions.EntrypointCommand](t, lastStage(t)).CmdLine
	if len(test) < 3 || test[0] != "CMD" || test[1] != entry[0] {
		t.Fatalf("HEALTHCHECK %v does not run %v, and the image has no shell", test, entry)
	}
	return test[2:]
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	_, warnings, err := parseDockerfile(func(rule, description, url, message string, location []parser.Range) {
		t.Errorf("%s: %s (%s)", rule, message, description)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("%s", w.Short)
	}
	stages, _, err := parseDockerfile(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range command[*instructions.ArgCommand](t, stages[0]).Args {
		if arg.Value != nil {
			t.Errorf("ARG %s has a default, which BuildKit takes instead of the platform that is built for", arg.Key)
		}
	}
	stage := lastStage(t)
	if user := command[*instructions.UserCommand](t, stage).User; user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("USER %q", user)
	}
	known := settings(t)
	exactly(t, "EXPOSE", command[*instructions.ExposeCommand](t, stage).Ports, []string{known["WEBSOCKET_PORT"], known["HEALTH_PORT"]})
	if got := command[*instructions.CmdCommand](t, stage).CmdLine; !slices.Equal(got, []string{"serve"}) {
		t.Errorf("CMD %q", got)
	}
	if got := command[*instructions.EntrypointCommand](t, stage); got.PrependShell {
		t.Error("ENTRYPOINT needs a shell, and the image has none")
	}
	copied := command[*instructions.CopyCommand](t, stage)
	dir, name := path.Split(command[*instructions.EntrypointCommand](t, stage).CmdLine[0])
	if copied.DestPath != dir || !slices.Contains(copied.SourcePaths, "/out/"+name) {
		t.Errorf("%v is copied to %s, and ENTRYPOINT is %s%s", copied.SourcePaths, copied.DestPath, dir, name)
	}
	if base := "golang:" + minor(t); !strings.Contains(read(t, "Dockerfile"), " "+base+" AS build") {
		t.Errorf("it does not build with %s, as go.mod says", base)
	}
}

// minor is the version of Go in go.mod, as 1.26.
func minor(t *testing.T) string {
	t.Helper()
	found := submatches(`(?m)^go (\d+\.\d+)`, read(t, "go.mod"))
	if len(found) != 1 {
		t.Fatal("go.mod has no go line")
	}
	return found[0]
}
