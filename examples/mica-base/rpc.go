package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// A base is the Base OS.
type base struct {
	data     string
	password string

	mu        sync.Mutex // one change at a time
	slots     map[string]string
	tokens    map[string]string // token → host that it was given to
	downloads int
}

const maxRequest = 1 << 20 // bytes

func (b *base) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws/", b.serve)
	mux.HandleFunc("/{container}/{page...}", b.page)
	return mux
}

type request struct {
	Version string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id"`
	Method  string            `json:"method"`
	Params  map[string]string `json:"params"`
}

type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return f.Message }

// The error codes are those of JSON-RPC 2.0; the MICA's own are not documented.
func refuse(format string, args ...any) error { return &failure{-32000, fmt.Sprintf(format, args...)} }

// serve answers one connection, to which a session belongs.
func (b *base) serve(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(maxRequest)
	s := &session{base: b, host: r.RemoteAddr}
	for {
		_, data, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), websocket.MessageText, s.answer(r.Context(), data)); err != nil {
			return
		}
	}
}

type session struct {
	*base
	host     string
	signedIn bool
}

func (s *session) answer(ctx context.Context, data []byte) []byte {
	var q request
	if err := json.Unmarshal(data, &q); err != nil || q.Version != "2.0" {
		return encode(nil, nil, &failure{-32700, "this is no JSON-RPC 2.0"})
	}
	result, err := s.do(ctx, q.Method, q.Params)
	return encode(q.ID, result, err)
}

func encode(id json.RawMessage, result any, err error) []byte {
	a := map[string]any{"jsonrpc": "2.0", "id": id, "result": result}
	if err != nil {
		f, ok := err.(*failure)
		if !ok {
			f = &failure{-32603, err.Error()}
		}
		delete(a, "result")
		a["error"] = f
	}
	text, err := json.Marshal(a)
	if err != nil {
		return []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"cannot encode"}}`)
	}
	return text
}

// do carries out the documented methods; all others need a session that has
// signed in.
func (s *session) do(ctx context.Context, method string, p map[string]string) (any, error) {
	switch method {
	case "sign_in":
		return s.signIn(p)
	case "validate":
		return s.validate(p["token"])
	case "ping":
		return "pong", nil
	}
	if !s.signedIn {
		return nil, refuse("sign in first")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slot, isSlot := strings.CutPrefix(p["selector"], ".data_slot.")
	switch {
	case method == "get_base" && isSlot:
		return s.slots[slot], nil
	case method == "set_base" && isSlot:
		s.slots[slot] = p["value"]
		return "set_data_slot successful", nil
	}
	assumed, known := methods[method]
	if !known {
		return nil, &failure{-32601, "Method not found"}
	}
	return assumed(s.base, ctx, p)
}

func (s *session) signIn(p map[string]string) (any, error) {
	password, err := base64.StdEncoding.DecodeString(p["pwd"])
	if err != nil || p["user"] != "admin" || subtle.ConstantTimeCompare(password, []byte(s.password)) != 1 {
		return nil, refuse("wrong user or password")
	}
	s.signedIn = true
	token := rand.Text()
	s.mu.Lock()
	s.tokens[token] = s.host
	s.mu.Unlock()
	return token, nil
}

func (s *session) validate(token string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, known := s.tokens[token]
	if !known {
		return nil, refuse("invalid token")
	}
	return map[string]string{"role": "admin", "host": host}, nil
}
