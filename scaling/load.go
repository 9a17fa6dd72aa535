package scaling

// Load is what the replicas of a deployment bear.
type Load struct {
	Replicas    int    // that the deployment should have
	CPU         Figure // percent of a replica's limit, on average
	Memory      Figure // percent of a replica's limit, on average
	Connections Figure // of all replicas together
	Missing     int    // replicas of which some or all figures are not known
}

// Replica is what one replica bears.
type Replica struct {
	CPU, Memory Figure // percent of its limit
	Connections Figure
}

// LoadOf is the load of a deployment that should have so many replicas, by what those say that were reached. What is
// not known of one counts as none, so a load is never overstated: a replica that is still starting keeps the average of
// the others from asking for one more; Missing keeps it from asking for one less. A figure that no replica knows is not
// known.
func LoadOf(replicas int, reached []Replica) Load {
	l := Load{Replicas: replicas, Missing: replicas}
	var cpu, memory, connections Figure
	for _, r := range reached {
		cpu, memory, connections = sum(cpu, r.CPU), sum(memory, r.Memory), sum(connections, r.Connections)
		if r.CPU.Known && r.Memory.Known && r.Connections.Known {
			l.Missing--
		}
	}
	l.Missing = max(l.Missing, 0)
	// During a roll-out there may be more of them.
	count := Known(float64(max(replicas, len(reached))))
	l.CPU, l.Memory, l.Connections = cpu.over(count), memory.over(count), connections
	return l
}

// sum leaves out what is not known.
func sum(a, b Figure) Figure {
	switch {
	case !a.Known:
		return b
	case !b.Known:
		return a
	}
	return a.plus(b)
}

// with is the load if so many replicas had to bear it.
func (l Load) with(replicas int) Load {
	l.CPU = l.CPU.times(float64(l.Replicas) / float64(replicas))
	l.Replicas = replicas
	return l
}
