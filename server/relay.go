package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// relayBuffer is what a websocket that is idle keeps for each direction.
	relayBuffer = 4 << 10
	// relayStalled is how long one side may take nothing.
	relayStalled = 30 * time.Second
	// relayHalf is how long one side may go on when the other has ended: longer than a session's goodbye takes.
	relayHalf = 10 * time.Second
)

// upgrade opens the websocket of another replica's session there, and relays it. It is not httputil's, which would keep
// the request, the server's buffers and 64 KiB more for as long as a websocket lasts.
func (f *forwarder) upgrade(scheme, host string, w http.ResponseWriter, r *http.Request) (err error) {
	peer, err := f.dial(r.Context(), scheme, host)
	if err != nil {
		return err
	}
	relayed := false
	defer func() {
		if !relayed {
			peer.Close()
		}
	}()
	// The request's context bounds the handshake, and no more than that.
	inTime := context.AfterFunc(r.Context(), func() { _ = peer.SetDeadline(time.Unix(1, 0)) })
	defer inTime()

	res, early, err := askPeer(peer, host, r)
	if err != nil {
		return fmt.Errorf("websocket handshake with %s: %w", host, err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		// The connection is not handed out: what the client says next could reach anything on the internal port.
		defer res.Body.Close()
		res.Header.Del("Connection")
		maps.Copy(w.Header(), res.Header)
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
		return nil
	}
	if !inTime() {
		return context.Cause(r.Context())
	}
	client, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	sent, _ := rw.Reader.Peek(rw.Reader.Buffered()) // before it had the answer
	var answer bytes.Buffer
	res.Body = nil
	_ = res.Write(&answer) // to memory: it cannot fail
	answer.Write(early)
	relayed = true
	f.relay(client, peer, answer.Bytes(), bytes.Clone(sent))
	return nil
}

// askPeer sends a client's request and reads the answer, and what has come behind it.
func askPeer(peer net.Conn, host string, r *http.Request) (res *http.Response, early []byte, err error) {
	out := r.Clone(r.Context())
	out.URL.Host, out.URL.Path, out.URL.RawPath = host, forwardPath, ""
	out.Body, out.ContentLength, out.TransferEncoding = nil, 0, nil
	if out.UserAgent() == "" {
		out.Header.Set("User-Agent", "") // or Go's goes out
	}
	forwardedFor(out.Header, r)
	if err := out.Write(peer); err != nil {
		return nil, nil, err
	}
	from := bufio.NewReader(peer)
	if res, err = http.ReadResponse(from, out); err != nil {
		return nil, nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		early, _ = from.Peek(from.Buffered())
	}
	return res, early, nil
}

// relay makes one of two connections until both directions have ended, after each has got its first bytes.
func (f *forwarder) relay(client, peer net.Conn, toClient, toPeer []byte) {
	end := func() {
		client.Close()
		peer.Close()
	}
	t, ok := f.begin(end)
	if !ok {
		end()
		return
	}
	go func() {
		defer f.finish(t)
		defer end()
		var up sync.WaitGroup
		up.Go(func() { pump(peer, client, toPeer) })
		pump(client, peer, toClient)
		up.Wait()
	}()
}

// pump copies what from sends. Its end becomes to's; an error ends both directions at once.
func pump(to, from net.Conn, first []byte) {
	err := copyTo(to, from, first)
	half, ok := to.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		_ = to.SetReadDeadline(time.Now().Add(relayHalf))
		return
	}
	to.Close()
	from.Close()
}

func copyTo(to, from net.Conn, first []byte) error {
	write := func(p []byte) error {
		_ = to.SetWriteDeadline(time.Now().Add(relayStalled))
		_, err := to.Write(p)
		return err
	}
	if len(first) > 0 {
		if err := write(first); err != nil {
			return err
		}
	}
	buf := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if err := write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
