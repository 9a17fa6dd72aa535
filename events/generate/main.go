// Command generate writes what others need to know of the events, from the schemas in events/schemas, the channels of
// package events, the default routing rules and the table in socket.json:
//
//   - publisher/node/events.d.ts: TypeScript types for front-ends and publishers
//   - publisher/node/schemas.json: the schemas in one file
//   - docs/asyncapi.json: an AsyncAPI 3.0 document
//
// "go generate ./events" runs it. A test fails when a file is not what it would write.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := write(".."); err != nil { // go generate runs it in events
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the files by their paths below root, which is the repository's.
func generate(root string) (map[string][]byte, error) {
	s, err := read(root)
	if err != nil {
		return nil, err
	}
	bundle, err := bundle(s)
	if err != nil {
		return nil, err
	}
	document, err := asyncAPI(s)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"publisher/node/events.d.ts":  typeScript(s),
		"publisher/node/schemas.json": bundle,
		"docs/asyncapi.json":          document,
	}, nil
}
