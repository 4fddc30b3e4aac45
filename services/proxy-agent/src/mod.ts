export {
  type NginxOptions,
  type NginxTool,
  type PreparedNginx,
  prepareNginx,
} from "./prepare-nginx.ts";
