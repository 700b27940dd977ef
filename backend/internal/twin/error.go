package twin

import "fmt"

// Error is a refusal with Azure IoT Hub's code: Code/1000 is the HTTP status. Compare with errors.Is, which looks at Code.
type Error struct {
	Code    int
	Name    string
	Message string
}

// Azure IoT Hub's codes that this hub uses.
var (
	Malformed           = &Error{400012, "DeserializationError", "the body cannot be understood"}
	ArgumentInvalid     = &Error{400004, "ArgumentInvalid", "an argument is invalid"}
	Unauthorized        = &Error{401003, "IotHubUnauthorizedAccess", "no valid token for this"}
	Forbidden           = &Error{403002, "IotHubForbidden", "this is not permitted"}
	QueueFull           = &Error{403004, "DeviceMaximumQueueDepthExceeded", "the device's queue is full"}
	DeviceNotFound      = &Error{404001, "DeviceNotFound", "there is no such device"}
	JobNotFound         = &Error{404002, "JobNotFound", "there is no such job"}
	ModuleNotFound      = &Error{404010, "ModuleNotFound", "there is no such module"}
	NoConfiguration     = &Error{404011, "ConfigurationNotFound", "there is no such configuration"}
	DeviceNotOnline     = &Error{404103, "DeviceNotOnline", "Timed out waiting for device to connect."}
	DeviceClosed        = &Error{404104, "DeviceConnectionClosedRemotely", "The connection to the device was closed before it answered."}
	DeviceExists        = &Error{409001, "DeviceAlreadyExists", "the device exists already"}
	JobExists           = &Error{409003, "JobAlreadyExists", "the job exists already"}
	ConfigurationExists = &Error{409302, "ConfigurationAlreadyExists", "the configuration exists already"}
	ModuleExists        = &Error{409301, "ModuleAlreadyExistsOnDevice", "the module exists already"}
	PreconditionFailed  = &Error{412002, "PreconditionFailed", "it has changed since: read it again"}
	TooLarge            = &Error{413001, "RequestEntityTooLarge", "the document would be too large"}
	Throttled           = &Error{429001, "ThrottlingException", "too much at once: try again"}
	ServerError         = &Error{500001, "ServerError", "the hub has an error of its own: see its log"}
	BadAnswer           = &Error{502001, "BadDeviceResponse", "the device's answer cannot be understood"}
	NoAnswer            = &Error{504101, "GatewayTimeout", "Timed out waiting for the response from device."}
)

// Error tells name, code and message.
func (e *Error) Error() string { return fmt.Sprintf("%s (%d): %s", e.Name, e.Code, e.Message) }

// Is compares codes.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// With answers the same error with another message.
func (e *Error) With(format string, args ...any) *Error {
	return &Error{e.Code, e.Name, fmt.Sprintf(format, args...)}
}
