package iothub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

func client(t *testing.T, handler http.HandlerFunc) *iothub.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	c := iothub.NewClient(iothub.ConnectionString{HostName: host, PolicyName: "service", Key: key, Insecure: true})
	c.HTTP = server.Client()
	return c
}

func TestPatchTwinOnTheWire(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("If-Match"), string(body)}
		want := []string{"PATCH", "/twins/a%23b", "api-version=2021-04-12", `"AAA="`, `{"properties":{"desired":{"x":null}}}`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		token, err := iothub.ParseToken(r.Header.Get("Authorization"))
		if err != nil || token.Policy != "service" {
			t.Error(token, err)
		}
		io.WriteString(w, `{"deviceId":"a#b","version":7,"properties":{"desired":{"$version":3}}}`)
	})
	twin, err := c.PatchTwin(t.Context(), "a#b", iothub.TwinPatch{Desired: map[string]any{"x": nil}}, "AAA=")
	if err != nil {
		t.Fatal(err)
	}
	if twin.Version != 7 || twin.Properties.Desired.Version() != 3 {
		t.Errorf("%+v", twin)
	}
}

func TestErrors(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/plain") {
			http.Error(w, "gateway says no", http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"Message":"ErrorCode:DeviceNotFound;no such device; really","ExceptionMessage":"Tracking ID:1"}`)
	})
	_, err := c.Twin(t.Context(), "d")
	e, ok := errors.AsType[*iothub.Error](err)
	if want := (iothub.Error{Status: 404, Code: "DeviceNotFound", Message: "no such device; really"}); !ok || *e != want {
		t.Errorf("%+v", err)
	}
	if !iothub.IsNotFound(err) || iothub.IsConflict(err) {
		t.Error("the error is not what it is")
	}
	if _, err = c.Device(t.Context(), "plain"); err == nil || !strings.Contains(err.Error(), "502") {
		t.Error(err)
	}
}

// TestCallMethod sees the wire, and the error of a device that is away, which has the form of Azure's.
func TestCallMethod(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method+r.URL.Path != "POST/twins/d/methods" {
			t.Error(r.Method, r.URL.Path)
		}
		if strings.Contains(string(body), `"away"`) {
			w.Header().Set("iothub-errorcode", "DeviceNotOnline")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"Message":"{\"errorCode\":404103,\"trackingId\":\"1\",\"message\":\"Timed out waiting for device to connect.\",\"info\":{}}","ExceptionMessage":""}`)
			return
		}
		if want := `{"connectTimeoutInSeconds":60,"methodName":"read","payload":{"path":"/3"},"responseTimeoutInSeconds":5}`; string(body) != want {
			t.Errorf("%s", body)
		}
		io.WriteString(w, `{"status":201,"payload":[9007199254740993]}`)
	})
	m := iothub.Method{Name: "read", Payload: map[string]any{"path": "/3"}, ConnectTimeout: time.Minute, ResponseTimeout: 5 * time.Second}
	answer, err := c.CallMethod(t.Context(), "d", m)
	if err != nil || answer.Status != 201 || string(answer.Payload) != "[9007199254740993]" {
		t.Error(answer, err)
	}
	_, err = c.CallMethod(t.Context(), "d", iothub.Method{Name: "away"})
	if !iothub.IsNotOnline(err) || iothub.IsNotFound(err) {
		t.Error(err)
	}
	if e, _ := errors.AsType[*iothub.Error](err); e.Code != "DeviceNotOnline" || e.Message != "Timed out waiting for device to connect." {
		t.Errorf("%+v", e)
	}
}

// The stream breaks after each event, in the middle of a line, and the client goes on after the last whole event.
func TestEventsResume(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		last := r.Header.Get("Last-Event-ID")
		mu.Lock()
		asked = append(asked, last)
		mu.Unlock()
		next := map[string]int{"": 5, "5": 6, "6": 7, "7": 8}[last]
		if last == "" { // only the position, then the connection is lost
			fmt.Fprint(w, "id: 5\n\n")
			return
		}
		fmt.Fprintf(w, ":\n\nid: %d\ndata: {\"id\":\"%d\",\"type\":\"twinChanged\",\"device\":\"d\"}\n\nid: 99\ndata: {\"cut", next, next)
	})
	var got []string
	for event, err := range c.Events(t.Context(), "d", "") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, event.ID); len(got) == 3 {
			break
		}
	}
	if diff := cmp.Diff([]string{"6", "7", "8"}, got); diff != "" {
		t.Error(diff)
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"", "5", "6", "7"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestEventsEnd(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	for _, err := range c.Events(t.Context(), "", "") {
		if e, ok := errors.AsType[*iothub.Error](err); !ok || e.Status != 401 {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Events(ctx, "", "") {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
