package iothub_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// A back-end application reads the battery level of a device, now or as soon as it
// wakes up within five minutes.
func ExampleClient_CallMethod() {
	connection, err := iothub.ParseConnectionString(os.Getenv("TRANQUIL_HUB"))
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := iothub.NewClient(connection).CallMethod(context.Background(), "mica-1", iothub.Method{
		Name: "read", Payload: map[string]any{"path": "/3/0/9"}, ConnectTimeout: 5 * time.Minute,
	})
	switch refused, _ := errors.AsType[*iothub.Error](err); {
	case iothub.IsNotOnline(err):
		fmt.Println("it sleeps, or is away")
	case refused != nil && refused.Status == 504:
		fmt.Println("it does not answer")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(answer.Status, string(answer.Payload)) // 200 {"request":"GET /3/0/9","response":80}
	}
}
