package main

import (
	"context"
	"flag"
	"fmt"
)

// checkConfig says whether serve would take the configuration, without starting anything.
func checkConfig(_ context.Context, args []string, std stdio) error {
	var cfg config
	var show bool
	fs := newFlags("check-config", "Reads the configuration as serve would, from flags, environment and file, and reports every problem in it: exit code 2.", std)
	cfg.flags(fs)
	if err := cfg.read(fs, args, func() {
		fs.BoolVar(&show, "print", false, "print the whole configuration in force, as a file, with secrets masked")
	}); err != nil {
		return err
	}
	if err := cfg.check(); err != nil {
		return err
	}
	if show {
		text, err := effective(fs, cfg.sections)
		if err != nil {
			return err
		}
		_, err = std.out.Write(text)
		return err
	}
	_, err := fmt.Fprintln(std.out, "the configuration is good")
	return err
}

// read fills the configuration: the defaults, over them the file, the environment, and the flags. own adds flags that
// are a command's own.
func (c *config) read(fs *flag.FlagSet, args []string, own func()) (err error) {
	c.sections, err = readConfig(fs, args, own)
	c.values = map[string]string{}
	for name := range settingKeys {
		c.values[name] = fs.Lookup(name).Value.String()
	}
	return err
}
