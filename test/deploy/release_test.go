package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

func TestGoreleaser(t *testing.T) {
	t.Parallel()
	project, err := config.Load(filepath.Join(root, ".goreleaser.yaml")) // strict: an unknown key is an error
	if err != nil {
		t.Fatal(err)
	}
	if project.Version != 2 || len(project.Builds) == 0 || len(project.Archives) == 0 {
		t.Fatalf("version %d, %d builds, %d archives", project.Version, len(project.Builds), len(project.Archives))
	}
	var ids []string
	for _, b := range project.Builds {
		ids = append(ids, b.ID)
		if _, err := os.Stat(filepath.Join(root, b.Main, "main.go")); err != nil {
			t.Errorf("build %s: %v", b.ID, err)
		}
		exactly(t, b.ID+": goos", b.Goos, []string{"linux", "darwin"})
		exactly(t, b.ID+": goarch", b.Goarch, []string{"amd64", "arm64"})
		if !slices.Contains(b.Env, "CGO_ENABLED=0") {
			t.Errorf("build %s is not static", b.ID)
		}
	}
	for _, a := range project.Archives {
		exactly(t, "builds of the archive", a.IDs, ids)
		for _, f := range a.Files {
			if found, _ := filepath.Glob(filepath.Join(root, f.Source)); len(found) == 0 {
				t.Errorf("the archive wants %s, which is not there", f.Source)
			}
		}
	}
}
