package iothub_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestWebhook: what is altered, too old, or signed by others is refused. The vector is that of the specification's
// reference libraries.
func TestWebhook(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	now := time.Unix(1614265330, 0)
	body := []byte(`{"test": 2432232314}`)
	signed := http.Header{}
	if err := iothub.SignWebhook(signed, secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", body, now); err != nil {
		t.Fatal(err)
	}
	if got := signed.Get(iothub.WebhookSignature); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
	for name, test := range map[string]struct {
		edit   func(http.Header)
		secret string
		body   string
		now    time.Time
		good   bool
	}{
		"as it was sent":     {func(http.Header) {}, secret, string(body), now, true},
		"among others":       {func(h http.Header) { h.Set(iothub.WebhookSignature, "v1,AAAA v2,x "+h.Get(iothub.WebhookSignature)) }, secret, string(body), now.Add(time.Minute), true},
		"altered":            {func(http.Header) {}, secret, `{"test": 1}`, now, false},
		"of another event":   {func(h http.Header) { h.Set(iothub.WebhookID, "1") }, secret, string(body), now, false},
		"of another secret":  {func(http.Header) {}, "whsec_AAAA", string(body), now, false},
		"of no secret":       {func(http.Header) {}, "whsec_", string(body), now, false},
		"too old":            {func(http.Header) {}, secret, string(body), now.Add(time.Hour), false},
		"from the future":    {func(http.Header) {}, secret, string(body), now.Add(-time.Hour), false},
		"without a time":     {func(h http.Header) { h.Del(iothub.WebhookTimestamp) }, secret, string(body), now, false},
		"without signature":  {func(h http.Header) { h.Del(iothub.WebhookSignature) }, secret, string(body), now, false},
		"of another version": {func(h http.Header) { h.Set(iothub.WebhookSignature, "v2"+h.Get(iothub.WebhookSignature)[2:]) }, secret, string(body), now, false},
	} {
		header := signed.Clone()
		test.edit(header)
		if err := iothub.VerifyWebhook(header, test.secret, []byte(test.body), test.now); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
