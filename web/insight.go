package web

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Stats is the present state of the whole service. What is not measured is left out.
type Stats struct {
	Timestamp     time.Time         `json:"timestamp"`
	Replicas      int               `json:"replicas"`
	Events        EventTotals       `json:"events"`
	WebSockets    ConnectionStats   `json:"websockets"`
	Subscriptions SubscriptionStats `json:"subscriptions"`
	Rooms         RoomStats         `json:"rooms"`
	DeadLetters   *int64            `json:"deadLetters,omitempty"` // waiting
}

// EventTotals count events since the replica that answers has started.
type EventTotals struct {
	Published int64 `json:"published"`
	Received  int64 `json:"received"`
	Errors    int64 `json:"errors"`
}

// ConnectionStats are of all replicas where their names say active, else of the one that answers, since it has started.
type ConnectionStats struct {
	ActiveConnections   int      `json:"activeConnections"`
	TotalConnections    int64    `json:"totalConnections"`
	TotalDisconnections int64    `json:"totalDisconnections"`
	MessagesSent        int64    `json:"messagesSent"`
	MessagesReceived    int64    `json:"messagesReceived"`
	ErrorsCount         int64    `json:"errorsCount"`
	AverageLatency      *float64 `json:"averageLatency,omitempty"` // ms from the log to a socket
}

// SubscriptionStats sum up the subscriptions.
type SubscriptionStats struct {
	TotalSubscriptions  int              `json:"totalSubscriptions"`
	Active              int              `json:"active"`
	HandlerErrors       int64            `json:"handlerErrors"`
	ChannelCounts       map[string]int   `json:"channelCounts"`
	ErrorCounts         map[string]int64 `json:"errorCounts"` // by channel
	OldestSubscription  string           `json:"oldestSubscription,omitempty"`
	AverageMessageCount float64          `json:"averageMessageCount"`
}

// RoomStats count the rooms.
type RoomStats struct {
	Active int `json:"active"`
}

// LogLevel is how much the replica that answers logs.
type LogLevel interface {
	Level() string         // one of logLevels
	SetLevel(string) error // until the next start or reload
}

var logLevels = []string{"debug", "info", "warn", "error"}

func (a *api) insightOperations() []operation {
	const level = apiPrefix + "/log-level"
	return slices.Concat(
		inMode([]operation{{id: "getStats", method: http.MethodGet, path: apiPrefix + "/stats", serve: a.getStats}}, a.cfg.Stats != nil),
		inMode([]operation{{id: "getAnalysis", method: http.MethodGet, path: apiPrefix + "/analysis", serve: a.getAnalysis}}, a.cfg.Analysis != nil),
		inMode([]operation{
			{id: "getLogLevel", method: http.MethodGet, path: level, serve: a.getLogLevel},
			{id: "setLogLevel", method: http.MethodPut, path: level, maxBody: maxSmall, serve: a.setLogLevel},
		}, a.cfg.LogLevel != nil),
	)
}

func (a *api) getStats(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	s, err := a.cfg.Stats(c.ctx)
	if err != nil {
		return err
	}
	s.Subscriptions.ChannelCounts = orEmpty(s.Subscriptions.ChannelCounts)
	s.Subscriptions.ErrorCounts = orEmpty(s.Subscriptions.ErrorCounts)
	return c.answer(http.StatusOK, s)
}

func (a *api) getAnalysis(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	analysis, err := a.cfg.Analysis(c.ctx)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, analysis)
}

// logLevelBody is the body and the answer of /log-level.
type logLevelBody struct {
	Level string `json:"level" api:"required"`
}

func (a *api) getLogLevel(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	return c.answer(http.StatusOK, logLevelBody{a.cfg.LogLevel.Level()})
}

func (a *api) setLogLevel(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	var req logLevelBody
	if err := c.decode(&req); err != nil {
		return err
	}
	if !slices.Contains(logLevels, req.Level) {
		return malformedField("level", "must be one of "+strings.Join(logLevels, ", ")+".")
	}
	if err := a.cfg.LogLevel.SetLevel(req.Level); err != nil {
		return err
	}
	return c.answer(http.StatusOK, logLevelBody{a.cfg.LogLevel.Level()})
}
