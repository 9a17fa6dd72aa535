package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// errUnseen says that we may not look who else scales.
var errUnseen = errors.New("not allowed to look for HorizontalPodAutoscalers, or there is no such API")

const maxPages = 50

// hpaList is as much of autoscaling/v2 HorizontalPodAutoscalerList as this takes.
type hpaList struct {
	Metadata struct {
		Continue string `json:"continue"`
	} `json:"metadata"`
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			ScaleTargetRef struct {
				Kind string `json:"kind"`
				Name string `json:"name"`
			} `json:"scaleTargetRef"`
		} `json:"spec"`
	} `json:"items"`
}

// Rival is the name of a HorizontalPodAutoscaler that scales our Deployment as well, or empty. KEDA makes one, too.
func (k *kubernetes) Rival(ctx context.Context) (string, error) {
	query := url.Values{"limit": {"100"}}
	for range maxPages {
		var page hpaList
		err := k.do(ctx, http.MethodGet, "/apis/autoscaling/v2/namespaces/"+k.cfg.namespace+"/horizontalpodautoscalers?"+query.Encode(), nil, &page)
		if refused(err, http.StatusForbidden, http.StatusNotFound) {
			return "", errors.Join(errUnseen, err)
		}
		if err != nil {
			return "", err
		}
		for _, hpa := range page.Items {
			if target := hpa.Spec.ScaleTargetRef; target.Kind == "Deployment" && target.Name == k.cfg.deployment {
				return hpa.Metadata.Name, nil
			}
		}
		if page.Metadata.Continue == "" {
			return "", nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
	return "", errors.New("there are too many HorizontalPodAutoscalers in the namespace to look at all of them")
}
