package web

import (
	"cmp"
	"net/http"

	"github.com/photo-management/event-bus/auth"
)

// audit records what an admin changed or tried to, and who was turned away. What is only read is not audited, but for
// profiles, which show the process's inside; nor is publishing, which is counted.
func (c *call) audit() {
	if c.api.cfg.Audit == nil {
		return
	}
	r := auth.Record{
		UserID:    c.who.UserID,
		TokenID:   c.who.TokenID,
		IP:        c.remote(),
		RequestID: c.requestID,
		Channel:   c.denied,
		Action:    c.op.id,
		Target:    c.r.Method + " " + c.r.URL.EscapedPath(),
		Reason:    c.detail,
		Status:    c.status,
	}
	switch {
	case c.status == http.StatusUnauthorized:
		r.Event = auth.AuthenticationFailed
	case c.status == http.StatusTooManyRequests:
		r.Event = auth.RateLimitExceeded
	case c.denied != "": // maybe of one in a batch
		r.Event = auth.ChannelAccessDenied
	case c.status == http.StatusForbidden:
		r.Event, r.Outcome = auth.AdminAction, auth.Denied
	case c.who.UserID == "" || c.op.access == publishers || c.op.method == http.MethodGet && !c.op.profile:
		return
	default:
		r.Event, r.Outcome = cmp.Or(c.op.audited, auth.AdminAction), auth.Succeeded
		if c.status >= 400 {
			r.Outcome = auth.Failed
		}
	}
	c.api.cfg.Audit(r)
}
