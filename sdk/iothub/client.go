package iothub

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokenLife is how long a request's token is good for: long enough for clocks that differ.
const tokenLife = 5 * time.Minute

// maxBody bounds an answer of the hub: 1000 devices of the registry are far below.
const maxBody = 64 << 20

// Client talks to the service side of a hub. It is safe for concurrent use.
type Client struct {
	ConnectionString ConnectionString // of a policy
	// URL and Token, if set, are in its place: where people have the hub's interface, as in
	// https://hub.example.org:9443/api/v1/hub, and what the hub has given one of them when logging in.
	URL, Token string
	HTTP       *http.Client // nil: http.DefaultClient. Events needs one without Timeout
}

// NewClient makes a client with the default HTTP client.
func NewClient(cs ConnectionString) *Client { return &Client{ConnectionString: cs} }

// Error is an answer of the hub that is not a success.
type Error struct {
	Status  int    // HTTP status
	Code    string // Azure's name, as in DeviceNotFound, DeviceAlreadyExists, PreconditionFailed; "" if unknown
	Number  int    // Azure's number, as in 404103, where an answer has one; else 0
	Message string
}

// Error tells code, status and text.
func (e *Error) Error() string {
	return fmt.Sprintf("hub refused: %s (%d %s)", e.Message, e.Status, e.Code)
}

// IsNotFound tells whether err is the hub's answer that there is no such device.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) && !IsNotOnline(err) }

// IsNotOnline tells whether err is the hub's answer that a device takes no methods now, or that its connection ended
// before it had answered one.
func IsNotOnline(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Number == 404103 || e.Number == 404104)
}

// IsConflict tells whether err is the hub's answer that the device exists or that an etag has changed.
func IsConflict(err error) bool {
	return hasStatus(err, http.StatusConflict) || hasStatus(err, http.StatusPreconditionFailed)
}

func hasStatus(err error, status int) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == status
}

// CreateDevice registers a device; the hub makes its keys. IsConflict tells that it exists already.
func (c *Client) CreateDevice(ctx context.Context, id string) (*Device, error) {
	body := map[string]any{"deviceId": id, "status": "enabled", "authentication": Authentication{Type: "sas"}}
	return call[Device](ctx, c, http.MethodPut, devicePath(id), "", body)
}

// UpdateDevice changes status and keys of a device; what d leaves empty stays. An etag other than "*" makes it fail
// (IsConflict) if somebody changed them since.
func (c *Client) UpdateDevice(ctx context.Context, d Device, etag string) (*Device, error) {
	return call[Device](ctx, c, http.MethodPut, devicePath(d.DeviceID), etag, d)
}

// Device reads one identity.
func (c *Client) Device(ctx context.Context, id string) (*Device, error) {
	return call[Device](ctx, c, http.MethodGet, devicePath(id), "", nil)
}

// Devices lists the registry, at most 1000.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	devices, err := call[[]Device](ctx, c, http.MethodGet, "/devices/", "", nil)
	if err != nil {
		return nil, err
	}
	return *devices, nil
}

// DeleteDevice removes a device and its twin, and ends its connection.
func (c *Client) DeleteDevice(ctx context.Context, id string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, devicePath(id), "*", nil)
	return err
}

// Twin reads a device's twin.
func (c *Client) Twin(ctx context.Context, id string) (*Twin, error) {
	return call[Twin](ctx, c, http.MethodGet, twinPath(id), "", nil)
}

// History reads how the updates of a device have ended. Azure's hub has none.
func (c *Client) History(ctx context.Context, id string) (*History, error) {
	return call[History](ctx, c, http.MethodGet, "/api/v1/history/"+url.PathEscape(id), "", nil)
}

// PatchTwin changes tags and desired properties and answers the new twin. A non-empty etag makes it fail (IsConflict)
// if somebody changed them since.
func (c *Client) PatchTwin(ctx context.Context, id string, patch TwinPatch, etag string) (*Twin, error) {
	body := map[string]any{}
	if patch.Tags != nil {
		body["tags"] = patch.Tags
	}
	if patch.Desired != nil {
		body["properties"] = map[string]any{"desired": patch.Desired}
	}
	return call[Twin](ctx, c, http.MethodPatch, twinPath(id), etag, body)
}

// A Method is what a device shall do now.
type Method struct {
	Name    string
	Payload any // becomes JSON, at most 128 KB; nil is null
	// ConnectTimeout is how long the hub waits for a device that takes no methods now, up to 300 s; 0 not at all.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long it waits for the answer, from 5 s to 300 s; 0 is 30 s. Both are cut to seconds.
	ResponseTimeout time.Duration
}

// A MethodAnswer is the device's: its status has what meaning the device gives it, mostly that of HTTP.
type MethodAnswer struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

// CallMethod has a device do something and answers what the device answers. IsNotOnline tells that it takes no methods
// now; after status 504 and after IsNotOnline it may have done it all the same.
func (c *Client) CallMethod(ctx context.Context, id string, m Method) (*MethodAnswer, error) {
	body := map[string]any{"methodName": m.Name, "payload": m.Payload, "connectTimeoutInSeconds": int(m.ConnectTimeout / time.Second)}
	if m.ResponseTimeout != 0 {
		body["responseTimeoutInSeconds"] = int(m.ResponseTimeout / time.Second)
	}
	return call[MethodAnswer](ctx, c, http.MethodPost, twinPath(id)+"/methods", "", body)
}

func devicePath(id string) string { return "/devices/" + url.PathEscape(id) }
func twinPath(id string) string   { return "/twins/" + url.PathEscape(id) }

func call[T any](ctx context.Context, c *Client, method, path, etag string, body any) (*T, error) {
	result, err := exchange[T](ctx, c, method, path, etag, body)
	if err != nil {
		return nil, fmt.Errorf("cannot %s %s: %w", strings.ToLower(method), path, err)
	}
	return result, nil
}

func exchange[T any](ctx context.Context, c *Client, method, path, etag string, body any) (*T, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := c.request(ctx, method, path+"?api-version="+apiVersion, content)
	if err != nil {
		return nil, err
	}
	if etag != "" {
		req.Header.Set("If-Match", `"`+etag+`"`)
	}
	res, err := c.send(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	result := new(T)
	if res.StatusCode == http.StatusNoContent {
		return result, nil
	}
	return result, json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(result)
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	base, token := c.URL, "Bearer "+c.Token
	if c.Token == "" {
		var err error
		base = c.ConnectionString.HTTPURL()
		if token, err = c.ConnectionString.ServiceToken(time.Now().Add(tokenLife)); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// send answers the response of a success, or an error; the body is open only on success.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readError(res)
}

// readError takes problem details (RFC 9457), and Azure's `{"Message":"ErrorCode:DeviceNotFound;text"}` apart. Of methods the message is JSON itself:
// `{"Message":"{\"errorCode\":404103,\"message\":\"text\"}"}`.
func readError(res *http.Response) *Error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 16<<10))
	var body struct{ Message, Detail string }
	e := &Error{Status: res.StatusCode, Message: http.StatusText(res.StatusCode)}
	if json.Unmarshal(text, &body) != nil || body.Message == "" {
		e.Message = cmp.Or(body.Detail, e.Message)
		return e
	}
	e.Message = body.Message
	var inner struct {
		ErrorCode int
		Message   string
	}
	if json.Unmarshal([]byte(body.Message), &inner) == nil && inner.ErrorCode != 0 {
		e.Code, e.Number, e.Message = res.Header.Get("iothub-errorcode"), inner.ErrorCode, inner.Message
		return e
	}
	if code, message, ok := strings.Cut(body.Message, ";"); ok {
		if name, found := strings.CutPrefix(code, "ErrorCode:"); found {
			e.Code, e.Message = name, message
		}
	}
	return e
}
