package main

import "context"

func publish(ctx context.Context, args []string, std stdio) error { return nil }
func tail(ctx context.Context, args []string, std stdio) error    { return nil }
func token(ctx context.Context, args []string, std stdio) error   { return nil }
