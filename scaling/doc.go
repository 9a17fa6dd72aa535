// Package scaling says how the service does and how many replicas it should have. Read makes a Snapshot of our metrics,
// whoever gathered them; Analyse compares two of them and recommends what to look at; Window keeps those of the last
// minutes of this process; Decide says whether a deployment should have more or fewer replicas. Those are functions of
// numbers: but for Window, nothing here asks the time, waits or talks to anybody. Who acts on a decision is elsewhere
// (cmd/eventbus-autoscaler).
//
// What is not known stays unknown: see Figure. It is left out of JSON, recommends nothing, and is no reason for fewer
// replicas.
package scaling
