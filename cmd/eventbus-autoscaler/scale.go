package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// scale is the count of a Deployment: what is wanted, and what is there.
type scale struct{ wanted, present int }

// scaleObject is autoscaling/v1 Scale, as the API gives and takes it.
type scaleObject struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Metadata   struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		UID             string `json:"uid,omitempty"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		Replicas int `json:"replicas"` // left out by the API if 0
	} `json:"spec"`
	Status struct {
		Replicas int `json:"replicas"`
	} `json:"status"`
}

// errMoved says that somebody else has changed the count since it was looked at.
var errMoved = errors.New("somebody else has changed the number of replicas")

const conflicts = 5 // that are tried again

// Scale is the count now.
func (k *kubernetes) Scale(ctx context.Context) (scale, error) {
	s, err := k.scaleObject(ctx, http.MethodGet, nil)
	if err != nil {
		return scale{}, err
	}
	return scale{s.Spec.Replicas, s.Status.Replicas}, nil
}

// Resize changes the count from what it was when that was decided. Other changes to the Deployment, such as its status,
// may come between; if the count itself has changed, it stays as it is: errMoved.
func (k *kubernetes) Resize(ctx context.Context, from, to int) error {
	for tried := 0; ; tried++ {
		s, err := k.scaleObject(ctx, http.MethodGet, nil)
		if err != nil {
			return err
		}
		if s.Spec.Replicas != from {
			return fmt.Errorf("%w: it was %d and is %d", errMoved, from, s.Spec.Replicas)
		}
		s.Spec.Replicas = to
		_, err = k.scaleObject(ctx, http.MethodPut, s) // refused if s is of an older version
		if !refused(err, http.StatusConflict) || tried == conflicts {
			return err
		}
		if err := pause(ctx, time.Duration(50+rand.IntN(100))*time.Millisecond<<tried); err != nil {
			return err
		}
	}
}

func (k *kubernetes) scaleObject(ctx context.Context, method string, body *scaleObject) (*scaleObject, error) {
	path := "/apis/apps/v1/namespaces/" + k.cfg.namespace + "/deployments/" + k.cfg.deployment + "/scale"
	var s scaleObject
	var send any
	if body != nil {
		send = body
	}
	if err := k.do(ctx, method, path, send, &s); err != nil {
		return nil, err
	}
	if s.Kind != "Scale" || s.Metadata.Name != k.cfg.deployment || s.Metadata.ResourceVersion == "" || s.Spec.Replicas < 0 || s.Status.Replicas < 0 {
		return nil, fmt.Errorf("%s %s: the answer is not the scale of a Deployment", method, path)
	}
	return &s, nil
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
