package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/scaling"
)

// readScaling reads the section scaling of the configuration file: times in ms.
func readScaling(text json.RawMessage) (scaling.Config, error) {
	var in struct {
		Interval   int64 `json:"interval"`
		Keep       int64 `json:"keep"`
		Thresholds struct {
			MaxLatency          float64 `json:"maxLatency"`
			MaxErrorRate        float64 `json:"maxErrorRate"`
			MaxHandlerLatency   float64 `json:"maxHandlerLatency"`
			MaxHandlerErrorRate float64 `json:"maxHandlerErrorRate"`
			MaxDeadLetters      float64 `json:"maxDeadLetters"`
			MaxSlowClients      float64 `json:"maxSlowClients"`
			MaxChurn            float64 `json:"maxChurn"`
			MaxCPU              float64 `json:"maxCpu"`
			MaxMemory           float64 `json:"maxMemory"`
			MinSamples          int     `json:"minSamples"`
			CPULimit            float64 `json:"cpuLimit"`
			MemoryLimit         int64   `json:"memoryLimit"`
		} `json:"thresholds"`
	}
	if text != nil {
		if err := strict(text, &in); err != nil {
			return scaling.Config{}, fmt.Errorf("scaling: %w", err)
		}
	}
	t := in.Thresholds
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	c := scaling.Config{
		Interval: ms(float64(in.Interval)), Keep: ms(float64(in.Keep)),
		Thresholds: scaling.Thresholds{
			MaxLatency: ms(t.MaxLatency), MaxErrorRate: t.MaxErrorRate, MaxHandlerLatency: ms(t.MaxHandlerLatency),
			MaxHandlerErrorRate: t.MaxHandlerErrorRate, MaxDeadLetters: t.MaxDeadLetters, MaxSlowClients: t.MaxSlowClients,
			MaxChurn: t.MaxChurn, MaxCPU: t.MaxCPU, MaxMemory: t.MaxMemory, MinSamples: t.MinSamples, CPULimit: t.CPULimit,
			MemoryLimit: t.MemoryLimit,
		},
	}
	return c, c.Validate()
}
