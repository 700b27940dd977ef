package fetch

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestNewRemote(t *testing.T) {
	for uri, want := range map[string]struct {
		err    error
		single bool
	}{
		"coap://host/p.tar":                                {nil, true},
		"http://host:8080/a/b?c=d":                         {nil, true},
		"https://host/v2/application/a/manifests/1.0.0":    {nil, false},
		"coap://host/sub/v2/application/a/manifests/1.0.0": {nil, false},
		"http://host/v2/application/a/manifests/1.0.0?x=y": {nil, true},
		"http://host/v2/Application/a/manifests/1.0.0":     {nil, true},
		"http://host/v2/application/a/blobs/1.0.0":         {nil, true},
		"coaps://host/p.tar":                               {ErrScheme, false},
		"coap+tcp://host/p.tar":                            {nil, true},
		"coaps+tcp://host/p.tar":                           {ErrScheme, false},
		"coap+ws://host/p.tar":                             {ErrScheme, false},
		"file://host/p.tar":                                {ErrScheme, false},
		"":                                                 {ErrURI, false},
		"p.tar":                                            {ErrURI, false},
		"http://":                                          {ErrURI, false},
		"http://host":                                      {ErrURI, false},
		"http://host/":                                     {ErrURI, false},
		"http://host/p.tar#part":                           {ErrURI, false},
		"http://ho st/p.tar":                               {ErrURI, false},
		"http://:80/p.tar":                                 {ErrURI, false},
	} {
		r, err := NewRemote(uri, Config{})
		if !errors.Is(err, want.err) || err == nil && r.Single() != want.single {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

// TestFile reads a file here and there, from either kind of server.
func TestFile(t *testing.T) {
	body, _ := randomBlob(300_000)
	each(t, map[string][]byte{"/a b/p.tar": body}, func(t *testing.T, s served) {
		r, err := NewRemote(s.url+"/a%20b/p.tar", Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		f := r.File(t.Context())
		defer f.Close()
		for _, at := range []int64{0, 1000, 200_000, 200_512, 3, 299_990} {
			want := body[at:min(at+1000, int64(len(body)))]
			got := make([]byte, len(want))
			if _, err := f.Seek(at, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("from byte %d: %v", at, err)
			}
		}
		if n, err := f.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes beyond the end, %v", n, err)
		}
		if _, err := f.Seek(0, io.SeekEnd); err == nil {
			t.Error("the end of the file is known")
		}
	})
}

// TestLogin gives a server the name and password, and nobody else.
func TestLogin(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader([]byte("hello")))
	}))
	defer server.Close()
	for _, user := range []*url.Userinfo{nil, url.UserPassword("me", "secret")} {
		r, err := NewRemote(server.URL+"/p.tar", Config{User: user})
		if err != nil {
			t.Fatal(err)
		}
		f := r.File(t.Context())
		b, err := io.ReadAll(f)
		if user == nil && !errors.Is(err, ErrRefused) || user != nil && (err != nil || string(b) != "hello") {
			t.Errorf("%v: %q, %v", user, b, err)
		}
		f.Close()
		r.Close()
	}
}

// TestSecretsStay: what a URI has of user, password and query is neither in an
// error nor told to the server that another one redirects to.
func TestSecretsStay(t *testing.T) {
	var referer atomic.Value
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		referer.Store(r.Header.Get("Referer"))
		w.Write([]byte("hello"))
	}))
	defer second.Close()
	var to atomic.Value
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to.Load().(string), http.StatusFound)
	}))
	read := func(server string) (string, error) {
		uri := strings.Replace(server, "http://", "http://SECRET:SECRET@", 1) + "/p.tar?sig=SECRET"
		r, err := NewRemote(uri, Config{Patience: little})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		f := r.File(t.Context())
		defer f.Close()
		b, err := io.ReadAll(f)
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("the error tells the secrets: %v", err)
		}
		return string(b), err
	}
	to.Store(second.URL)
	if got, err := read(first.URL); got != "hello" || err != nil || referer.Load() != "" {
		t.Errorf("%q, %v, with Referer %q", got, err, referer.Load())
	}
	to.Store("http://192.0.2.1/p.tar?sig=SECRET")
	if _, err := read(first.URL); err == nil || !strings.Contains(err.Error(), "beyond this machine") {
		t.Errorf("redirected beyond this machine: %v", err)
	}
	first.Close()
	if _, err := read(first.URL); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody is there: %v", err)
	}
}

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		insecure bool
		want     bool
	}{
		{"http://127.0.0.1/a", "http://[::1]/b", false, true},
		{"http://127.0.0.1/a", "http://localhost:8081/b", false, true},
		{"http://127.0.0.1/a", "https://host/b", false, true},
		{"http://127.0.0.1/a", "http://host/b", false, false},
		{"http://127.0.0.1/a", "http://host/b", true, true},
		{"https://host/a", "http://127.0.0.1/b", true, false},
		{"https://host/a", "https://other/b", false, true},
	} {
		request := func(uri string) *http.Request { return httptest.NewRequest(http.MethodGet, uri, nil) }
		err := redirect(tt.insecure)(request(tt.to), []*http.Request{request(tt.from)})
		if (err == nil) != tt.want {
			t.Errorf("from %s to %s, insecure %v: %v", tt.from, tt.to, tt.insecure, err)
		}
	}
}
