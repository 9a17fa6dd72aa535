package adapter

import "strings"

// hand applies what a server or an emitter has published, in the place of an entry of a log.
func (p *PubSub) hand(e Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apply([]Entry{e})
}

// note applies what one of our replicas has said to be written: only the keys, as the messages come by themselves.
func (p *PubSub) note(payload []byte) {
	for key := range strings.FieldsSeq(string(payload)) {
		p.hand(Entry{Message: Message{Kind: Other}, Key: key})
	}
}

func (p *PubSub) ask(r Request) {
	if serve := p.serve.Load(); serve != nil && r.From != p.cfg.ID && !p.mine(r.ID) {
		(*serve)(r, func(answer Response) { p.respond(r, answer) })
	}
}

func (p *PubSub) hearSharded(payload []byte) {
	m, err := decodeCluster(payload)
	switch {
	case err != nil:
		p.invalid.Add(1)
	case m.Entry != nil:
		p.hand(*m.Entry)
	case m.Request != nil:
		p.ask(*m.Request)
	case m.Response != nil:
		p.responded(*m.Response)
	}
}

// hearPlain takes what emitters publish, where servers use sharded channels.
func (p *PubSub) hearPlain(channel string, payload []byte) {
	if channel == p.written() {
		p.note(payload)
		return
	}
	m, err := p.emitters.Decode(p.emitters.Heard(channel, payload))
	if err != nil {
		p.invalid.Add(1)
		return
	}
	p.hand(Entry{Message: m})
}

func (p *PubSub) hearClassic(channel string, payload []byte) {
	d := classicDialect{p.cfg}
	var err error
	switch namespace := p.cfg.Namespace; {
	case channel == p.written():
		p.note(payload)
	case channel == d.audience(namespace):
		var m wirePayload
		if m, err = decodeClassicRequest(namespace, payload); err != nil {
			break
		}
		if m.Entry != nil {
			p.hand(*m.Entry)
		} else if m.Request != nil {
			p.ask(*m.Request)
		}
	case strings.HasPrefix(channel, d.answers(namespace)):
		var r Response
		if r, err = decodeClassicResponse(namespace, payload); err == nil {
			p.responded(r)
		}
	default:
		var e Entry
		if e, err = decodeClassicEvent(payload); err == nil {
			p.hand(e)
		}
	}
	if err != nil {
		p.invalid.Add(1)
	}
}

// classicDialect is that of @socket.io/redis-adapter: one channel of each namespace for questions and commands, one for
// answers, whoever they are for.
type classicDialect struct{ PeersConfig }

func (d classicDialect) audience(namespace string) string {
	return d.Prefix + "-request#" + strings.TrimPrefix(d.public(namespace), d.Prefix+"#")
}

func (d classicDialect) answers(namespace string) string {
	return d.Prefix + "-response#" + strings.TrimPrefix(d.public(namespace), d.Prefix+"#")
}

func (d classicDialect) private(namespace, id string) string { return d.answers(namespace) + id + "#" }

func (d classicDialect) request(r Request) (published, error) {
	payload, err := encodeClassicRequest(r)
	return published{d.audience(r.Namespace), payload}, err
}

func (d classicDialect) response(to Request, r Response) (published, error) {
	payload, err := encodeClassicResponse(r)
	if d.SpecificResponses && to.Kind != ServerSideEmit && to.From != "" {
		return published{d.private(to.Namespace, to.From), payload}, err
	}
	return published{d.answers(to.Namespace), payload}, err
}
