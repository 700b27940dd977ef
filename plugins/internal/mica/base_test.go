package mica

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A peer is a Base OS for tests, with what is documented.
type peer struct {
	*httptest.Server
	signIns, pings atomic.Int32
	slots          map[string]string
	drop           atomic.Bool // the connection, at the next request
}

func newPeer(t *testing.T) *peer {
	p := &peer{slots: map[string]string{}}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *peer) serve(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	signedIn := false
	for {
		_, data, err := c.Read(r.Context())
		if err != nil || p.drop.Swap(false) {
			return
		}
		var q struct {
			JSONRPC, Method string
			ID              int64
			Params          map[string]string
		}
		if json.Unmarshal(data, &q) != nil || q.JSONRPC != "2.0" {
			return
		}
		result, refused := p.answer(q.Method, q.Params, &signedIn)
		a := map[string]any{"jsonrpc": "2.0", "id": q.ID, "result": result}
		if refused != "" {
			a = map[string]any{"jsonrpc": "2.0", "id": q.ID, "error": map[string]any{"code": -32000, "message": refused}}
		}
		text, _ := json.Marshal(a)
		c.Write(r.Context(), websocket.MessageText, []byte(`{"jsonrpc":"2.0","method":"something_happened"}`))
		c.Write(r.Context(), websocket.MessageText, text)
	}
}

func (p *peer) answer(method string, params map[string]string, signedIn *bool) (result any, refused string) {
	switch method {
	case "sign_in":
		pwd, _ := base64.StdEncoding.DecodeString(params["pwd"])
		*signedIn = params["user"] == "admin" && string(pwd) == "sesame"
		p.signIns.Add(1)
		if !*signedIn {
			return nil, "wrong password"
		}
		return "0vLhB9GmNb", ""
	case "ping":
		p.pings.Add(1)
		return "pong", ""
	case "validate":
		return Identity{"admin", "::ffff:10.10.10.10"}, ""
	}
	if !*signedIn {
		return nil, "not signed in"
	}
	switch method {
	case "set_base":
		p.slots[params["selector"]] = params["value"]
		return "set_data_slot successful", ""
	case "get_base":
		return p.slots[params["selector"]], ""
	}
	return nil, "Method not found"
}

func (p *peer) config() Config {
	return Config{
		URL: "wss" + strings.TrimPrefix(p.URL, "https"), User: "admin", Password: "sesame",
		Pin: hex.EncodeToString(spki(p.Certificate())),
	}
}

func connect(t *testing.T, c Config) *Base {
	t.Helper()
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestDocumentedMethods(t *testing.T) {
	p := newPeer(t)
	b := connect(t, p.config())
	if err := b.SetSlot(t.Context(), "1", "one"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Slot(t.Context(), "1"); got != "one" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	got, err := b.Validate(t.Context(), "token")
	if d := cmp.Diff(Identity{"admin", "::ffff:10.10.10.10"}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	var refused *Error
	if err := b.Call(t.Context(), "no_such_method", nil, nil); !errors.As(err, &refused) || refused.Code != -32000 {
		t.Errorf("error %v", err)
	}
	if n := p.signIns.Load(); n != 1 {
		t.Errorf("signed in %d times", n)
	}
}

// TestReconnect: a lost connection is an error for who waits for an answer, and
// the next one gets a new session.
func TestReconnect(t *testing.T) {
	p := newPeer(t)
	b := connect(t, p.config())
	if err := b.SetSlot(t.Context(), "1", "one"); err != nil {
		t.Fatal(err)
	}
	p.drop.Store(true)
	if _, err := b.Slot(t.Context(), "1"); !errors.Is(err, ErrLost) {
		t.Errorf("error %v", err)
	}
	if got, err := b.Slot(t.Context(), "1"); got != "one" || err != nil {
		t.Errorf("after that: %q, %v", got, err)
	}
	if n := p.signIns.Load(); n != 2 {
		t.Errorf("signed in %d times", n)
	}
}

func TestRefused(t *testing.T) {
	p := newPeer(t)
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"a wrong password": {func(c *Config) { c.Password = "x" }, "wrong password"},
		"another key":      {func(c *Config) { c.Pin = strings.Repeat("0", 64) }, "another key"},
		"no pin":           {func(c *Config) { c.Pin = "" }, "certificate"},
		"nobody there":     {func(c *Config) { c.URL = "wss://127.0.0.1:1/ws/" }, "cannot reach"},
	} {
		t.Run(name, func(t *testing.T) {
			config := p.config()
			c.change(&config)
			if _, err := connect(t, config).Slot(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := New(Config{Pin: "x"}); err == nil {
		t.Error("a bad pin is accepted")
	}
}

func TestKeepAlive(t *testing.T) {
	p := newPeer(t)
	b := connect(t, p.config())
	if err := b.SetSlot(t.Context(), "1", "one"); err != nil {
		t.Fatal(err)
	}
	go b.session.keepAlive(5 * time.Millisecond)
	for deadline := time.Now().Add(time.Minute); p.pings.Load() < 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not ping")
		}
	}
}

func TestCancelled(t *testing.T) {
	p := newPeer(t)
	b := connect(t, p.config())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Slot(ctx, "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestMethods: what the operator knows better replaces what is assumed, and a
// misspelt operation is an error.
func TestMethods(t *testing.T) {
	all, err := Assumed.with(Methods{List: {Method: "list"}})
	if err != nil || all[List].Method != "list" || all[Start].Method != "start_container" || Assumed[List].Method == "list" {
		t.Error(all, err)
	}
	for _, bad := range []Methods{{"lst": {Method: "list"}}, {List: {}}} {
		if _, err := Assumed.with(bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
