export {
  type TrialAuthority,
  type TrialCertificate,
  type TrialCertificateOptions,
  trialAuthority,
  trialCertificate,
} from "./trial-certificate.ts";
