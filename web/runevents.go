package web

// The data of a run's events, in the members and the order publishers use.

type photoUploaded struct {
	PhotoID  string `json:"photoId"`
	UserID   string `json:"userId"`
	Filename string `json:"filename"`
	Size     int    `json:"size"` // bytes
	MimeType string `json:"mimeType"`
}

type processingStarted struct {
	PhotoID           string   `json:"photoId"`
	JobID             string   `json:"jobId"`
	Stages            []string `json:"stages"`
	EstimatedDuration int64    `json:"estimatedDuration"` // ms
}

type stageCompleted struct {
	PhotoID   string `json:"photoId"`
	JobID     string `json:"jobId"`
	Stage     string `json:"stage"`
	Result    any    `json:"result"`
	NextStage string `json:"nextStage,omitempty"`
	Progress  int    `json:"progress"` // percent
}

type processingCompleted struct {
	PhotoID  string  `json:"photoId"`
	JobID    string  `json:"jobId"`
	Results  results `json:"results"`
	Duration int64   `json:"duration"` // ms
}

type results struct {
	Thumbnails   []thumbnail   `json:"thumbnails"`
	Metadata     photoMetadata `json:"metadata"`
	Optimization optimization  `json:"optimization"`
}

type thumbnail struct {
	Size       string     `json:"size"`
	URL        string     `json:"url"`
	Dimensions dimensions `json:"dimensions"`
}

type dimensions struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

type photoMetadata struct {
	Dimensions dimensions     `json:"dimensions"`
	Format     string         `json:"format"`
	ColorSpace string         `json:"colorSpace"`
	Exif       map[string]any `json:"exif"`
}

type optimization struct {
	OriginalSize     int     `json:"originalSize"`
	OptimizedSize    int     `json:"optimizedSize"`
	CompressionRatio float64 `json:"compressionRatio"` // original to optimized
}

type processingFailed struct {
	PhotoID   string       `json:"photoId"`
	JobID     string       `json:"jobId"`
	Stage     string       `json:"stage"`
	Error     processError `json:"error"`
	Retryable bool         `json:"retryable"`
}

type processError struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Details map[string]any `json:"details"`
}
