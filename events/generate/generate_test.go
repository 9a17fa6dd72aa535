package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const root = "../.."

// TestGenerated fails when a schema has changed and what is made from it has not.
func TestGenerated(t *testing.T) {
	t.Parallel()
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./events", name)
		}
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	t.Parallel()
	first, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := generate(root)
		if err != nil {
			t.Fatal(err)
		}
		for name := range first {
			if !bytes.Equal(first[name], again[name]) {
				t.Errorf("%s differs from one run to the next", name)
			}
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	if err := write(t.TempDir()); err == nil {
		t.Error("no error where there are no schemas")
	}
}
