// Package mica talks to the Base OS of a HARTING MICA: JSON-RPC 2.0 over
// WebSocket, with named parameters.
//
// What is publicly documented, by the client code of HARTING's former IT team
// (github.com/menucha-de: Util.HttpServer, Core.Common), is the address, the
// framing, and the methods sign_in, validate, ping, get_base and set_base; they are
// in this file. The methods that handle containers and firmware are not documented
// anywhere: they are in one table, [Assumed], which an operator can replace.
package mica

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// DefaultURL is the Base OS as a container sees it.
const DefaultURL = "wss://mica/ws/"

const (
	pingTime  = 15 * time.Second // as HARTING's clients do
	dialTime  = 10 * time.Second
	maxAnswer = 16 << 20 // bytes
)

// Config says where the Base OS is and who asks.
type Config struct {
	URL      string // default: DefaultURL
	User     string // "" in a container of the device, which needs no password
	Password string
	Pin      string // SHA-256 of the certificate's public key (SubjectPublicKeyInfo), in hex; "" wants one that the system trusts

	Reboot  bool   // whoever updates the firmware may have the device reboot
	Factory string // file with the image of the firmware that the device came with; "" there is none
}

// ErrLost says that the connection broke before there was an answer: what was
// asked for may have been done or not.
var ErrLost = errors.New("the connection to the Base OS is lost")

// An Error is what the Base OS answers when it refuses.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string {
	return fmt.Sprintf("the Base OS refuses: %.500s (%d)", e.Message, e.Code)
}

// A Base is the Base OS of one device. It connects when it is first asked, and
// again when the connection was lost, and signs in each time, since a session
// belongs to its connection. Its methods may be called concurrently.
type Base struct {
	config  Config
	methods Methods
	client  *http.Client

	mu      sync.Mutex
	session *session
}

// New returns a Base that is not connected yet.
func New(c Config) (*Base, error) {
	if c.URL == "" {
		c.URL = DefaultURL
	}
	transport := &http.Transport{ForceAttemptHTTP2: false}
	if c.Pin != "" {
		pin, err := hex.DecodeString(c.Pin)
		if err != nil || len(pin) != sha256.Size {
			return nil, fmt.Errorf("pin %q is no SHA-256 in hex", c.Pin)
		}
		transport.TLSClientConfig = pinned(pin)
	}
	return &Base{config: c, methods: Assumed, client: &http.Client{Transport: transport}}, nil
}

// pinned trusts one public key and nobody else: a MICA has a certificate of its
// own making.
func pinned(pin []byte) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // what follows is stricter
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("the Base OS has no certificate")
			}
			if sum := spki(state.PeerCertificates[0]); subtle.ConstantTimeCompare(sum, pin) != 1 {
				return fmt.Errorf("the Base OS has another key than the one that is pinned: %x", sum)
			}
			return nil
		},
	}
}

func spki(c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return sum[:]
}

// Call asks for a method. An answer that refuses is an [Error]; if the connection
// breaks, the error is [ErrLost].
func (b *Base) Call(ctx context.Context, method string, params, result any) error {
	err := b.call(ctx, method, params, result)
	if errors.Is(err, errUnsent) && ctx.Err() == nil { // by a session that has just ended
		err = b.call(ctx, method, params, result)
	}
	if err != nil {
		return fmt.Errorf("cannot %s: %w", method, err)
	}
	return nil
}

func (b *Base) call(ctx context.Context, method string, params, result any) error {
	s, err := b.connect(ctx)
	if err != nil {
		return err
	}
	return s.call(ctx, method, params, result)
}

// connect returns the session, a new one if there is none any more.
func (b *Base) connect(ctx context.Context) (*session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil && !b.session.over() {
		return b.session, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	connection, _, err := websocket.Dial(ctx, b.config.URL, &websocket.DialOptions{HTTPClient: b.client})
	if err != nil {
		return nil, fmt.Errorf("cannot reach the Base OS at %s: %w", b.config.URL, err)
	}
	connection.SetReadLimit(maxAnswer)
	s := newSession(connection)
	if err := b.signIn(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	go s.keepAlive(pingTime)
	b.session = s
	return s, nil
}

// signIn sends the password as HARTING's clients do, in base64. The token that
// it answers is for other parties.
func (b *Base) signIn(ctx context.Context, s *session) error {
	params := map[string]string{}
	if b.config.User != "" {
		params["user"], params["pwd"] = b.config.User, base64.StdEncoding.EncodeToString([]byte(b.config.Password))
	}
	var token any
	if err := s.call(ctx, "sign_in", params, &token); err != nil {
		return fmt.Errorf("cannot sign in as %q: %w", b.config.User, err)
	}
	return nil
}

// Page gets a page of the Base OS, which passes those of a container on below its name.
func (b *Base) Page(ctx context.Context, path string) (*http.Response, error) {
	at, err := url.Parse(b.config.URL)
	if err != nil {
		return nil, err
	}
	at.Scheme, at.Path = "https", path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	return b.client.Do(request)
}

// Config is how the Base OS is reached, and what may be done with it.
func (b *Base) Config() Config { return b.config }

// Close ends the connection.
func (b *Base) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil {
		b.session.close()
	}
	b.client.CloseIdleConnections()
}

// An Identity is whom a token of the Base OS is for.
type Identity struct {
	Role string `json:"role"` // "admin"; no others are documented
	Host string `json:"host"` // that it was given to
}

// Validate tells whom a token is for, with which the Base OS opens the pages of
// containers.
func (b *Base) Validate(ctx context.Context, token string) (i Identity, err error) {
	err = b.Call(ctx, "validate", map[string]string{"token": token}, &i)
	return i, err
}

// Slot reads what [Base.SetSlot] has stored under an id.
func (b *Base) Slot(ctx context.Context, id string) (value string, err error) {
	err = b.Call(ctx, "get_base", map[string]string{"selector": ".data_slot." + id}, &value)
	return value, err
}

// SetSlot stores a value on the device, where it survives the containers.
func (b *Base) SetSlot(ctx context.Context, id, value string) error {
	var done any
	return b.Call(ctx, "set_base", map[string]string{"selector": ".data_slot." + id, "value": value}, &done)
}
