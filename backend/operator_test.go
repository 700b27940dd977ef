package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// running is a whole backend, and its administrator.
type running struct {
	*backend
	url   string
	roots *x509.CertPool
	admin string // password
}

// start runs a backend in a directory of its own.
func start(t *testing.T) *running {
	t.Helper()
	return startAt(t, config{Hub: hubConfig{MQTT: "127.0.0.1:0", HTTP: "127.0.0.1:0"}, Files: filesConfig{HTTP: "127.0.0.1:0"}, Web: webConfig{HTTPS: "127.0.0.1:0"}})
}

func startAt(t *testing.T, c config) *running {
	t.Helper()
	b := &backend{config: c, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	b.config.Data = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.run(ctx, b.startHub, b.startFiles, b.startWeb) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		b.close()
	})
	var where endpoints
	for deadline := time.Now().Add(patience); ; {
		text, err := os.ReadFile(filepath.Join(b.config.Data, "endpoints.json"))
		if err == nil && json.Unmarshal(text, &where) == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the backend does not start")
		}
		time.Sleep(10 * time.Millisecond)
	}
	password, err := os.ReadFile(filepath.Join(b.config.Data, "admin.password"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(where.Web.CA)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{backend: b, url: "https://" + where.Web.HTTPS, roots: x509.NewCertPool(), admin: strings.TrimSpace(string(password))}
	r.roots.AppendCertsFromPEM(ca)
	return r
}

// A caller is a program with a token, or a browser with a session.
type caller struct {
	*running
	http  *http.Client
	token string
	csrf  string
}

func (r *running) client() *http.Client {
	jar, _ := cookiejar.New(nil) // without options it cannot fail
	return &http.Client{
		Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer exchanges a password for a token.
func (r *running) bearer(t *testing.T, user, password string) *caller {
	t.Helper()
	c := &caller{running: r, http: r.client()}
	var got struct{ Token string }
	if status := c.call(t, "POST", "/api/v1/login", map[string]any{"user": user, "password": password, "name": "test"}, &got); status != 200 {
		t.Fatal("login: ", status)
	}
	c.token = got.Token
	return c
}

// browser logs in as people do.
func (r *running) browser(t *testing.T, user, password string) *caller {
	t.Helper()
	c := &caller{running: r, http: r.client()}
	if status, _ := c.post(t, "/login", url.Values{"user": {user}, "password": {password}}); status != http.StatusSeeOther {
		t.Fatal("login: ", status)
	}
	_, page := c.get(t, "/account")
	_, rest, _ := strings.Cut(page, `name="csrf" value="`)
	c.csrf, _, _ = strings.Cut(rest, `"`)
	return c
}

// send makes one request and answers status and body.
func (c *caller) send(t *testing.T, method, path, media string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") == "text/event-stream" {
		return res.StatusCode, ""
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// call sends and reads JSON.
func (c *caller) call(t *testing.T, method, path string, in, out any) int {
	t.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	status, text := c.send(t, method, path, "application/json", body)
	if out != nil && status == http.StatusOK {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return status
}

// wants is call, with the status that there has to be.
func (c *caller) wants(t *testing.T) func(status int, method, path string, in, out any) {
	return func(status int, method, path string, in, out any) {
		t.Helper()
		if got := c.call(t, method, path, in, out); got != status {
			t.Errorf("%s %s: %d, want %d", method, path, got, status)
		}
	}
}

// get fetches a page, post sends a form.
func (c *caller) get(t *testing.T, path string) (int, string) { return c.send(t, "GET", path, "", nil) }

func (c *caller) post(t *testing.T, path string, form url.Values) (int, string) {
	if c.csrf != "" {
		form.Set(accounts.CSRFField, c.csrf)
	}
	return c.send(t, "POST", path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

// A gadget is a device on MQTT that reports what it is told to.
type gadget struct{ mqtt.Client }

// connect registers a device and connects it.
func (r *running) connect(t *testing.T, id string, reported any) *gadget {
	t.Helper()
	cs, err := iothub.ParseConnectionString(r.credentials.Device)
	if err != nil {
		t.Fatal(err)
	}
	password, err := cs.DeviceToken(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	g := &gadget{}
	g.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("mqtt://" + r.endpoints.Hub.MQTT).SetClientID(id).SetProtocolVersion(4).
		SetUsername(iothub.Username(r.endpoints.Hub.MQTT, id)).SetPassword(password).SetAutoReconnect(false))
	must(t, g.Connect())
	t.Cleanup(func() { g.Disconnect(0) })
	must(t, g.Subscribe(iothub.TopicMethods, 0, g.answer))
	g.report(t, reported)
	return g
}

// answer answers all methods with what they ask for.
func (g *gadget) answer(_ mqtt.Client, m mqtt.Message) {
	_, rid, _ := strings.Cut(m.Topic(), "$rid=")
	g.Publish("$iothub/methods/res/200/?$rid="+rid, 0, false, fmt.Sprintf(`{"request":%q,"response":80}`, m.Payload()))
}

// report patches the device's reported properties.
func (g *gadget) report(t *testing.T, reported any) {
	t.Helper()
	text, err := json.Marshal(reported)
	if err != nil {
		t.Fatal(err)
	}
	must(t, g.Publish("$iothub/twin/PATCH/properties/reported/?$rid=1", 1, false, text))
}

func must(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal("no answer of the hub: ", token.Error())
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

// build makes a package of a schema, with transforms from and to the one before.
func build(t *testing.T, version string, schema int) (file string) {
	t.Helper()
	dir := t.TempDir()
	recipe := fmt.Sprintf("type = \"application\"\nname = \"greeter\"\nversion = %q\ndowntime = \"2s\"\n[settings]\ncommand = [\"./run\"]\n[state]\nschema = %d\n", version, schema)
	for _, edge := range [][2]int{{schema - 1, schema}, {schema, schema - 1}} {
		if schema > 1 {
			recipe += fmt.Sprintf("[[transform]]\nfrom = %d\nto = %d\nmodule = \"m.wasm\"\nlossy = %v\n", edge[0], edge[1], edge[1] == 2)
		}
	}
	recipe += "[[artifact]]\npath = \"run\"\nos = \"linux\"\narch = \"amd64\"\n"
	for name, text := range map[string]string{pack.RecipeFile: recipe, "run": "#!/bin/sh\n# " + version + "\n", "m.wasm": "\x00asm\x01\x00\x00\x00"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := pack.ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, file, err = r.BuildFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// upload publishes a package over the API.
func (c *caller) upload(t *testing.T, file string) (int, string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return c.send(t, "POST", "/api/v1/packages", "application/x-tar", bytes.NewReader(text))
}

// people makes a user of each role, and answers their passwords.
func (r *running) people(t *testing.T, admin *caller) map[accounts.Role]string {
	t.Helper()
	passwords := map[accounts.Role]string{}
	for _, role := range accounts.Roles {
		passwords[role.Role] = "the password of " + string(role.Role)
		user := map[string]any{"name": "a-" + string(role.Role), "password": passwords[role.Role], "role": role.Role}
		if status := admin.call(t, "POST", "/api/v1/users", user, nil); status != http.StatusNoContent {
			t.Fatal(role.Role, status)
		}
	}
	return passwords
}
