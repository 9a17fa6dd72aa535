package main

import (
	"errors"
	"flag"
	"fmt"
)

// parseArguments is parseFlags for a command that is told most things anew each time. The flags that fs has already are
// settings and may come from the environment; those that more adds may not: USER, ID or TYPE there are somebody else's.
func parseArguments(fs *flag.FlagSet, args []string, more func()) error {
	environment := parseFlags(fs, nil)
	more()
	help := fs.Usage
	fs.Usage = func() {} // on standard output only if asked for
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help()
		return err
	case err != nil:
		return usageError{errors.Join(environment, err)}
	case fs.NArg() > 0:
		return usageError{errors.Join(environment, fmt.Errorf("unexpected argument %q", fs.Arg(0)))}
	}
	return environment
}

// several makes a flag that may be given several times.
func several(into *[]string) func(string) error {
	return func(v string) error {
		if v == "" {
			return errors.New("want a value")
		}
		*into = append(*into, v)
		return nil
	}
}

// listed makes a flag that may be given several times, each time with one value or more, separated by commas.
func listed(into *[]string) func(string) error {
	return func(v string) error {
		var some list
		_ = some.Set(v) // takes anything
		*into = append(*into, some...)
		return nil
	}
}
