package adapter

func (s *Sessions) useWire() *Sessions {
	s.encode = func(st StoredSession) ([]byte, error) {
		text, err := encodeSession(st)
		return []byte(text), err
	}
	s.decode = func(b []byte) (StoredSession, error) { return decodeSession(string(b)) }
	return s
}
